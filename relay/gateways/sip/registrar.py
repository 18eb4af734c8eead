"""The registrar (RFC 3261, section 10) of one connection: the binding that makes its client a member of the room."""

import asyncio
import base64
from dataclasses import replace
from typing import Final, Protocol

from relay.gateways.base.join_request import JoinRequest
from relay.gateways.sip.errors import SipRefused
from relay.gateways.sip.fields import Uri
from relay.gateways.sip.location import MOST_BINDINGS, Location
from relay.gateways.sip.registration import SipRegistration
from relay.identity.grants import Grants
from relay.model.commands import Tracking
from relay.model.errors import Refused, RelayError
from relay.rooms.member import Member
from relay.rooms.worker import Worker

_KEY_PURPOSE: Final = "sip-binding"
_KEY_BYTES: Final = 24


class Registrant(Protocol):
    """The session of the client, as the registrar uses it."""

    @property
    def grants(self) -> Grants | None:
        """The rights of the client; None if auth is off."""
        ...

    @property
    def is_member(self) -> bool:
        """Whether the client is in its room."""
        ...

    def narrow(self, grants: Grants) -> None:
        """Serve the client with these rights."""
        ...

    async def enter_room(self, request: JoinRequest) -> Member:
        """Enter the room; its events wait until the client is bound. Raises `Refused`, or `ClientGone`."""
        ...

    async def leave_room(self) -> None:
        """Leave the room, and end the calls that ring."""
        ...


class Registrar:
    """Keeps the one binding of a connection; it ends with its time, or when the client removes it.

    Every method that changes the binding waits for its turn: the time of a binding may end while a REGISTER is served.
    """

    def __init__(self, registrant: Registrant, worker: Worker, location: Location, room: str) -> None:
        self._registrant = registrant
        self._worker = worker
        self._location = location
        self._room = room
        self._binding: SipRegistration | None = None
        self._turn = asyncio.Lock()
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def binding(self) -> SipRegistration | None:
        """The binding; None while there is none."""
        return self._binding if self._registrant.is_member else None

    async def register(self, wanted: SipRegistration) -> None:
        """Make, renew or remove the binding, as a REGISTER asks for it.

        Raises `SipRefused` (`bad_sip`, `contact_taken`, `too_many_bindings`), and the errors of a join.
        """
        async with self._turn:
            bound = self.binding
            same = bound is not None and bound.is_at(wanted.contact)
            if wanted.contact is not None and wanted.seconds:
                if not same:
                    await self._bind(wanted, wanted.contact)
                self._binding = wanted
                self._restart_expiry(wanted.seconds)
            elif wanted.removes_all or same:
                await self._unbind()

    def stop(self) -> None:
        """Forget the time of the binding: the connection has ended."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    async def _bind(self, wanted: SipRegistration, contact: Uri) -> None:
        """Enter the room: as the user itself, or as a further device of it."""
        device = self._location.device(wanted.peer, contact)
        if not device:
            raise SipRefused("bad_sip", "the Contact is too long")
        holders = await self._location.contact(contact)
        if not {wanted.peer, device}.issuperset(holders):
            raise SipRefused("contact_taken")
        await self._unbind()
        found = await self._location.user(wanted.peer)
        if device in found and await self._attempt(device, wanted, contact) is None:
            return
        error = await self._attempt(wanted.peer, wanted, contact)
        if error is None:
            return
        grants = self._registrant.grants
        guest = grants is not None and grants.anonymous
        # A name that a client of another protocol has is not shared, nor one of a token with a guest. Nobody gets the
        # contact of another device, by which others find it within a call.
        if guest or wanted.peer not in found or wanted.peer in holders or device in found:
            raise error
        if len(found) >= MOST_BINDINGS:
            raise SipRefused("too_many_bindings")
        await self._bind_as(device, wanted, contact)

    async def _attempt(self, peer: str, wanted: SipRegistration, contact: Uri) -> Refused | None:
        """Enter the room as this peer; return the error `peer_taken` if another client has it."""
        try:
            await self._bind_as(peer, wanted, contact)
        except Refused as error:
            if error.code != "peer_taken":
                raise
            return error
        return None

    async def _bind_as(self, peer: str, wanted: SipRegistration, contact: Uri) -> None:
        grants = self._registrant.grants
        if grants is not None and not grants.anonymous:
            # The token allows the user, and so each of its devices.
            self._registrant.narrow(replace(grants, peers=peer))
        proof = grants.subject if grants is not None and grants.subject else f"call {wanted.call}"
        member = await self._registrant.enter_room(
            JoinRequest(
                self._room,
                peer,
                resume=self._resume_key(wanted.peer, contact, proof),
                own_key=True,
                tracking=Tracking.WRITTEN,
                found_by=self._location.user_record(wanted.peer),
            )
        )
        self._worker.listings.begin(member, self._location.contact_record(contact))
        try:
            # The answer comes once Redis has both records: another worker may look for them in the same moment.
            await self._location.contact(contact)
        except RelayError:
            # Nobody gets the events of a member without a binding: they would be kept for ever.
            await self._unbind()
            raise

    def _resume_key(self, peer: str, contact: Uri, proof: str) -> str:
        """Return the key of a place: others know the contact from their calls, but neither the fleet's key nor `proof`.

        That is the subject of the client's login, or the Call-ID of REGISTER, which a client never changes and only
        the relay sees (RFC 3261, section 10.2).
        """
        text = "\0".join((self._room, peer, *contact.place, proof)).encode("utf-8", "replace")
        return base64.urlsafe_b64encode(self._worker.fleet_key.sign(_KEY_PURPOSE, text, size=_KEY_BYTES)).decode()

    async def _unbind(self) -> None:
        self.stop()
        await self._registrant.leave_room()
        self._binding = None

    # The time of the binding.

    def _restart_expiry(self, seconds: int) -> None:
        self.stop()
        self._expiry = asyncio.get_running_loop().call_later(seconds, self._time_is_over)

    def _time_is_over(self) -> None:
        ended, self._expiry = self._binding, None
        self._worker.spawn(self._expire(ended))

    async def _expire(self, ended: SipRegistration | None) -> None:
        """End a binding, unless a REGISTER has renewed it meanwhile."""
        async with self._turn:
            if self._binding is ended:
                await self._unbind()
