"""The session of a SIP client: its binding in the room, its requests, and the messages of others to it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec

from relay.gateways.base.brake import Brake
from relay.gateways.base.join_request import CodecPair, JoinRequest
from relay.gateways.sip.codec import PONG, KeepAlive, ReceivedRequest, ReceivedResponse
from relay.gateways.sip.connection import SipConnection
from relay.gateways.sip.deliveries import Deliveries
from relay.gateways.sip.errors import SipRefused
from relay.gateways.sip.fields import BadField, read_credentials
from relay.gateways.sip.location import Location
from relay.gateways.sip.login import Logins
from relay.gateways.sip.message import SipRequest, SipResponse
from relay.gateways.sip.outlet import SipOutlet
from relay.gateways.sip.proxy import Proxy
from relay.gateways.sip.registrar import Registrar
from relay.gateways.sip.registration import SipRegistration, read_registration
from relay.gateways.sip.replies import ALLOWED, reply
from relay.gateways.sip.room_messages import answers_room, check_text, read_text
from relay.gateways.sip.settings import SipSettings
from relay.gateways.sip.transactions import ClientTransactions, Timers
from relay.gateways.sip.via import ViaSeal
from relay.identity.grants import Grants
from relay.model.codec import Frame
from relay.model.commands import Command
from relay.model.errors import TOKEN_REFUSED, ClientGone, RelayError
from relay.model.names import escape_peer
from relay.rooms.admissions import Ticket
from relay.rooms.member import Member
from relay.rooms.worker import Worker

LOGIN_TIMEOUT: Final = 30.0
"""Seconds in which a client registers first, if auth is on."""

_ANSWER_COST: Final = 0.1
"""Messages for which the answer to a MESSAGE of the room counts: it goes nowhere, and is not of the client's choice."""

HEARS: Final = b'"sip":{"messages":true}'
"""The part of a member info that says that the client gets the messages of the room."""

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class ClientPlace:
    """Where a client is: its room (escaped), and the names of the host that it has connected to.

    `token_of` returns the token of a client that sends this one itself, "" for none.
    """

    room: str
    hosts: frozenset[str]
    token_of: Callable[[str], str]


class SipSession(SipOutlet):
    """Serves a SIP client: it is in no room until it registers, and leaves it when it removes its binding.

    A client that has lost its connection is held: with the same Contact, it comes back to its place over any worker,
    and gets the messages that were sent to it meanwhile.
    """

    __slots__ = (
        "_brake",
        "_deliveries",
        "_location",
        "_login",
        "_logins",
        "_place",
        "_proxy",
        "_registrar",
        "_shown",
        "_transactions",
    )  # fmt: skip

    def __init__(
        self,
        connection: SipConnection,
        worker: Worker,
        codecs: CodecPair[Frame],
        ticket: Ticket,
        *,
        place: ClientPlace,
        logins: Logins,
        timers: Timers,
    ) -> None:
        super().__init__(connection, worker, codecs, ticket)
        self._shown = connection
        self._place = place
        self._logins = logins
        self._login: asyncio.TimerHandle | None = None
        self._brake = Brake(ticket, connection.pause_reading)
        self._location = Location(worker.places, worker.listings, worker.fleet_key, place.room)
        self._registrar = Registrar(self, worker, self._location, place.room)
        seal = ViaSeal(worker.fleet_key, place.room)
        self._transactions = ClientTransactions(self, seal, timers)
        self._proxy = Proxy(self, seal, self._transactions, self._location, place.hosts)
        self._deliveries = Deliveries(
            self,
            connection,
            self._registrar,
            self._proxy,
            seal,
            limit=worker.settings.send_buffer,
            dropped=partial(self._metrics.refused, "bad_sip"),
            failed=self._close_after_fault,
        )
        connection.take = self._deliveries.take

    async def begin_unregistered(self) -> None:
        """Serve requests from now on; to be called once, instead of `enter`."""
        if not self._worker.authority.is_off:
            self._login = asyncio.get_running_loop().call_later(LOGIN_TIMEOUT, self._connection.close, TOKEN_REFUSED)
        self._end_exclusive()

    def disconnected(self, code: int, relay_closed: str | None) -> "asyncio.Future[None] | None":
        """End the session, and note the last message that has arrived."""
        received, members = self._shown.received(), self._rooms.memberships()
        if received is not None and members:
            self._worker.acknowledge(members[0], received, at_once=True)
        return super().disconnected(code, relay_closed)

    def end(self, *, goodbye: bool) -> "asyncio.Future[None] | None":
        """End the session; calls that ring are cancelled if the client has left on purpose."""
        self._transactions.end(goodbye=goodbye)
        self._brake.stop()
        self._stop_login_timer()
        self._registrar.stop()
        self._shown.take = None
        return super().end(goodbye=goodbye)

    # Frames of the client.

    def received(self, incoming: Frame) -> None:
        """Serve a frame; the answers to messages of the room are counted, and end here."""
        if answers_room(incoming.data):
            self._metrics.messages_in += 1
            self._metrics.bytes_in += len(incoming.data)
            self._brake.count(len(incoming.data), least=_ANSWER_COST)
            return
        super().received(incoming)

    def _execute(self, command: Command) -> None:
        match command:
            case KeepAlive():
                if command.wants:
                    self._connection.write(Frame(PONG))
            case ReceivedResponse():
                self._respond(command.response)
            case ReceivedRequest():
                self._run_exclusive(self._answer(command.request, command.problem), command)
            case _:
                super()._execute(command)

    def _respond(self, response: SipResponse) -> None:
        try:
            response.check()
            check_text(response)
            known = self._proxy.respond(response)
            self._confirm(response)
        except (BadField, SipRefused):
            known = False
        if not known:
            # Of no request that came through the relay. A response has no answer.
            self._metrics.refused("bad_sip")

    def _confirm(self, response: SipResponse) -> None:
        """Take note that the client has a request: if its worker is killed now, the request does not come again."""
        received = self._deliveries.answered(response)
        if received is not None and self.is_member:
            self._worker.confirm(self._rooms.member(""), received)

    async def _answer(self, request: SipRequest, problem: str) -> None:
        try:
            if problem:
                raise SipRefused("bad_sip", problem)
            try:
                request.check()
            except BadField as error:
                raise SipRefused("bad_sip", str(error)) from None
            check_text(request)
            await self._serve_request(request)
        except ClientGone:
            pass
        except RelayError as error:
            self._refuse(request, error)
        except Exception:
            self._close_after_fault()

    async def _serve_request(self, request: SipRequest) -> None:
        if request.method == "REGISTER":
            await self._register(request)
            return
        if not request.uri.user and request.uri.scheme == "sip" and request.method != "ACK":
            self._serve_domain(request)
            return
        binding = self._registrar.binding
        if binding is None:
            raise SipRefused("not_registered")
        self._proxy.check(request, binding.user, binding.contact)
        if request.method == "MESSAGE" and await self._carry_text(request):
            return
        branches = await self._proxy.forward(request)
        # The request itself has been counted.
        (self._pace or self._make_pace()).spend(max(0, branches - 1))

    def _serve_domain(self, request: SipRequest) -> None:
        """Answer a request to the relay itself, and to no user."""
        _check_required(request)
        if request.method == "OPTIONS":
            self.to_client(reply(request, 200, [("Allow", ALLOWED), ("Accept", "application/sdp, application/json")]))
        elif request.method == "CANCEL":
            raise SipRefused("no_such_transaction")
        else:
            raise SipRefused("no_event_package" if request.method == "SUBSCRIBE" else "sip_method_unknown")

    # The registrar.

    async def _register(self, request: SipRequest) -> None:
        _check_required(request)
        longest = self._worker.settings.of(SipSettings).sip_expires
        wanted, bound = read_registration(request, self._place.room, longest), self._registrar.binding
        if bound is not None and bound.user != wanted.user:
            raise SipRefused("too_many_bindings", "this connection has registered another user")
        await self._prove(request, wanted, bound)
        await self._registrar.register(wanted)
        bound = self._registrar.binding
        self._deliveries.hears = bound is not None and (self._deliveries.hears or wanted.hears)
        self._deliveries.release()
        self.to_client(reply(request, 200, [] if bound is None else [("Contact", bound.binding)]))

    async def _prove(self, request: SipRequest, wanted: SipRegistration, bound: SipRegistration | None) -> None:
        """Check the login of a client, if auth is on; one that is bound need not prove it again."""
        given = request.value("authorization")
        if self._worker.authority.is_off or (bound is not None and not given):
            return
        scheme, rest, parameters = read_credentials(given)
        if scheme == "digest":
            room, address = self._place.room, self.ticket.address
            self._set_grants(self._logins.grants(parameters, request.uri, room, wanted.peer, address))
        else:
            token = self._place.token_of(rest if scheme == "bearer" else "")
            await (self.authenticate(token) if bound is None else self._renew(token))
        if self._guard is not None:
            self._guard.grants.peer(wanted.peer, str)
        self._stop_login_timer()

    def _challenge(self, *, stale: bool) -> str:
        return self._logins.challenges.header(self._place.room, self.ticket.address, stale=stale)

    def _stop_login_timer(self) -> None:
        if self._login is not None:
            self._login.cancel()
            self._login = None

    @property
    def grants(self) -> Grants | None:
        """The rights of the client; None if auth is off."""
        return None if self._guard is None else self._guard.grants

    @property
    def is_member(self) -> bool:
        """Whether the client is in its room."""
        return len(self._rooms) > 0

    def narrow(self, grants: Grants) -> None:
        """Serve the client with these rights."""
        self._set_grants(grants)

    async def enter_room(self, request: JoinRequest) -> Member:
        """Enter the room; its events wait until the client is bound."""
        # Events that the client has missed come before this returns.
        self._deliveries.hold()
        await self._enter(request)
        if not self.is_member:
            raise ClientGone()
        member = self._rooms.member("")
        self._deliveries.hears = HEARS in member.info
        return member

    async def leave_room(self) -> None:
        """Leave the room, and end the calls that ring."""
        if self.is_member:
            self._transactions.end(goodbye=True)
            await self._rooms.end("")
        self._deliveries.forget()

    # Text.

    async def _carry_text(self, request: SipRequest) -> bool:
        """Publish a MESSAGE to the room, or to a member that is no SIP client; False for any other MESSAGE."""
        if request.to.tag or request.uri.host.endswith(".invalid"):
            return False
        peer = escape_peer(request.uri.user)
        to_room = peer == self._place.room
        if not to_room and await self._location.user(peer):
            return False
        command = read_text(request, "" if to_room else peer)
        self._allowed(command)
        if to_room and not self._deliveries.hears:
            self._deliveries.hears = True
            # Its presence entry says so to the worker to which it comes back; without that, it sends to the room again.
            with suppress(RelayError):
                await self._rooms.change_info(b"{%b}" % HEARS)
        self._send(self._rooms.member(""), command, partial(self._carried, request))
        return True

    def _carried(self, request: SipRequest, error: RelayError | None) -> None:
        if error is None:
            self.to_client(reply(request, 200))
        else:
            self._refuse(request, SipRefused("no_such_user") if error.code == "no_such_peer" else error)


def _check_required(request: SipRequest) -> None:
    """Raise `SipRefused` (`bad_extension`) for a request to the relay itself that needs an extension."""
    required = ", ".join(filter(None, request.values("require")))
    if required:
        raise SipRefused("bad_extension", unsupported=required)
