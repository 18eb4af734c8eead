"""The session of a SIP client: its binding in the room, its requests, and the messages of others to it."""

import asyncio
import base64
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import msgspec
from msgspec import structs

from relay.gateways.base.brake import Brake
from relay.gateways.base.inbox import weight
from relay.gateways.base.join_request import CodecPair, JoinRequest
from relay.gateways.base.session import WebSocketSession
from relay.gateways.sip.codec import PONG, KeepAlive, ReceivedRequest, ReceivedResponse, UnservedRequest
from relay.gateways.sip.connection import SipConnection
from relay.gateways.sip.declaration import CHANNEL
from relay.gateways.sip.errors import SipRefused
from relay.gateways.sip.fields import BadField, Uri, read_credentials
from relay.gateways.sip.location import MOST_BINDINGS, SEPARATOR, Location
from relay.gateways.sip.login import Logins
from relay.gateways.sip.message import NotSip, SipMessage, SipRequest, SipResponse, read_message
from relay.gateways.sip.proxy import Proxy
from relay.gateways.sip.registration import SHORTEST, SipRegistration, read_registration
from relay.gateways.sip.replies import ALLOWED, refusal, reply
from relay.gateways.sip.room_messages import answers_room, check_text, read_text, write_text
from relay.gateways.sip.settings import SipSettings
from relay.gateways.sip.transactions import ClientTransactions, Done, Timers
from relay.gateways.sip.via import ViaSeal
from relay.model.codec import Encoder, Frame
from relay.model.commands import Command, Publish, Tracking
from relay.model.envelope import Receipt
from relay.model.errors import BAD_PACKET, TOKEN_REFUSED, BadFrame, ClientGone, Refused, RelayError
from relay.model.events import Event, Message
from relay.model.names import escape_peer
from relay.rooms.admissions import Ticket
from relay.rooms.member import Member
from relay.rooms.worker import Worker

log = logging.getLogger("relay.session")

LOGIN_TIMEOUT: Final = 30.0
"""Seconds in which a client registers first, where auth is on."""

_ANSWER_COST: Final = 0.1
"""Messages for which the answer to a MESSAGE of the room counts: it goes nowhere, and is not of the client's choice."""

HEARS: Final = b'"sip":{"messages":true}'
"""The part of a member info that says that the client gets the messages of the room."""

_KEY_PURPOSE: Final = "sip-binding"
_KEY_BYTES: Final = 24
_encode: Final = msgspec.json.Encoder().encode


class _Carried(msgspec.Struct):
    message: str = ""


_carried: Final = msgspec.json.Decoder(_Carried)


@dataclass(frozen=True, slots=True)
class ClientPlace:
    """Where a client is: its room (escaped), and the names of the host that it has connected to.

    `token_of` returns the token of a client that sends this one itself, "" for none.
    """

    room: str
    hosts: frozenset[str]
    token_of: Callable[[str], str]


class SipSession(WebSocketSession):
    """Serves a SIP client: it is in no room until it registers, and leaves it when it removes its binding.

    A client that has lost its connection is held: with the same Contact, it comes back to its place over any worker,
    and gets the messages that were sent to it meanwhile.
    """

    __slots__ = (
        "_binding",
        "_brake",
        "_early",
        "_expiry",
        "_hears",
        "_location",
        "_login",
        "_logins",
        "_place",
        "_proxy",
        "_seal",
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
        self._binding: SipRegistration | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._login: asyncio.TimerHandle | None = None
        self._hears = False
        self._early: list[Message] | None = None
        self._brake = Brake(ticket, connection.pause_reading)
        self._location = Location(worker.places, worker.listings, worker.fleet_key, place.room)
        self._seal = ViaSeal(worker.fleet_key, place.room)
        self._transactions = ClientTransactions(self, self._seal, timers)
        self._proxy = Proxy(self, self._seal, self._transactions, self._location, place.hosts)
        connection.take = self._take

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
        self._stop_expiry()
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
        except (BadField, SipRefused):
            known = False
        if not known:
            # Of no request that came through the relay. A response has no answer.
            self._metrics.refused("bad_sip")

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
        binding = self._bound
        if binding is None:
            raise SipRefused("not_registered")
        self._proxy.check(request, binding.user)
        if request.method == "CANCEL":
            self.to_client(reply(request, 200))
        elif request.method == "MESSAGE" and await self._carry_text(request):
            return
        await self._proxy.forward(request)

    def _serve_domain(self, request: SipRequest) -> None:
        """Answer a request to the relay itself, and to no user."""
        self._check_required(request)
        if request.method == "OPTIONS":
            self.to_client(reply(request, 200, [("Allow", ALLOWED), ("Accept", "application/sdp, application/json")]))
        elif request.method == "CANCEL":
            raise SipRefused("no_such_transaction")
        else:
            raise SipRefused("no_event_package" if request.method == "SUBSCRIBE" else "sip_method_unknown")

    # The registrar.

    async def _register(self, request: SipRequest) -> None:
        self._check_required(request)
        longest = self._worker.settings.of(SipSettings).sip_expires
        wanted, bound = read_registration(request, self._place.room, longest), self._bound
        if bound is not None and bound.user != wanted.user:
            raise SipRefused("too_many_bindings", "this connection has registered another user")
        await self._prove(request, wanted, bound)
        if wanted.contact is not None and wanted.seconds:
            if bound is None or bound.contact is None or bound.contact.place != wanted.contact.place:
                await self._bind(wanted, wanted.contact)
            self._binding = wanted
            self._hears = self._hears or wanted.hears
            self._restart_expiry(wanted.seconds)
            self._deliver_early()
        elif wanted.shown:
            await self._unbind()
        bound = self._bound
        self.to_client(reply(request, 200, [] if bound is None else [("Contact", bound.binding)]))

    @property
    def _bound(self) -> SipRegistration | None:
        """The binding of this connection."""
        return self._binding if len(self._rooms) else None

    async def _prove(self, request: SipRequest, wanted: SipRegistration, bound: SipRegistration | None) -> None:
        """Check the login of a client, where auth is on; one that is bound need not prove it again."""
        given = request.value("authorization")
        if self._worker.authority.is_off or (bound is not None and not given):
            return
        scheme, rest, parameters = read_credentials(given)
        if scheme == "digest":
            self._set_grants(self._logins.grants(parameters, self._place.room, wanted.peer, self.ticket.address))
        else:
            token = self._place.token_of(rest if scheme == "bearer" else "")
            await (self.authenticate(token) if bound is None else self._renew(token))
        if self._guard is not None:
            self._guard.grants.peer(wanted.peer, str)
        self._stop_login_timer()

    def _stop_login_timer(self) -> None:
        if self._login is not None:
            self._login.cancel()
            self._login = None

    async def _bind(self, wanted: SipRegistration, contact: Uri) -> None:
        """Enter the room: as the user itself, or as a further device of it."""
        await self._unbind()
        device = self._location.device(wanted.peer, contact)
        if not device:
            raise SipRefused("bad_sip", "the Contact is too long")
        found, holders = await self._location.user(wanted.peer), await self._location.contact(contact)
        if not {wanted.peer, device}.issuperset(holders):
            raise SipRefused("contact_taken")
        if device in found and await self._attempt(device, wanted, contact) is None:
            return
        error = await self._attempt(wanted.peer, wanted, contact)
        if error is None:
            return
        guest = self._guard is not None and self._guard.grants.anonymous
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
        grants = None if self._guard is None else self._guard.grants
        if grants is not None and not grants.anonymous:
            # The token allows the user, and so each of its devices.
            self._set_grants(replace(grants, peers=peer))
        proof = grants.subject if grants is not None and grants.subject else f"call {wanted.call}"
        key = self._resume_key(wanted.peer, contact, proof)
        # Events that the client has missed come before this returns, and wait until it is known which of them it gets.
        self._early = []
        await self._enter(
            JoinRequest(
                self._place.room,
                peer,
                resume=key,
                own_key=True,
                tracking=Tracking.WRITTEN,
                found_by=self._location.user_record(wanted.peer),
            )
        )
        if not len(self._rooms):
            raise ClientGone()
        member = self._rooms.member("")
        self._hears = HEARS in member.info
        self._worker.listings.begin(member, self._location.contact_record(contact))
        try:
            # The answer comes once Redis has both records: another worker may look for them in the same moment.
            await self._location.contact(contact)
        except RelayError:
            # Nobody gets the events of a member without a binding: they would be kept for ever.
            await self._unbind()
            self._early = None
            raise

    def _resume_key(self, peer: str, contact: Uri, proof: str) -> str:
        """Return the key of a place: others know the contact from their calls, but neither the fleet's key nor `proof`.

        That is the subject of the client's login, or the Call-ID of REGISTER, which a client never changes and only
        the relay sees (RFC 3261, section 10.2).
        """
        text = "\0".join((self._place.room, peer, *contact.place, proof)).encode("utf-8", "replace")
        return base64.urlsafe_b64encode(self._worker.fleet_key.sign(_KEY_PURPOSE, text, size=_KEY_BYTES)).decode()

    async def _unbind(self) -> None:
        self._stop_expiry()
        if len(self._rooms):
            self._transactions.end(goodbye=True)
            await self._rooms.end("")
        self._binding = None

    def _restart_expiry(self, seconds: int) -> None:
        self._stop_expiry()
        self._expiry = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _stop_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def _expire(self) -> None:
        self._expiry = None
        self._worker.spawn(self._unbind())

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
        if to_room and not self._hears:
            self._hears = True
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

    # The outlet of transactions and the proxy.

    @property
    def peer(self) -> str:
        """The client's peer id."""
        return self._rooms.peer

    def to_client(self, message: SipMessage) -> None:
        """Write a message."""
        self._connection.write(Frame(message.encode()))

    def to_peer(self, peer: str, message: SipMessage, done: Done | None = None) -> None:
        """Send a message to a member, as a direct envelope."""
        text = message.encode().decode()
        command = Publish(_encode({"to": peer, "channel": CHANNEL, "message": text}), (peer,), CHANNEL)
        try:
            self._allowed(command)
            member = self._rooms.member("")
        except RelayError as error:
            self._note(done, error)
            return
        self._send(member, command, partial(self._note, done))

    def _send(self, member: Member, command: Publish, done: Done) -> None:
        pace = self._pace or self._make_pace()
        if not pace.stored.open and pace.stored.is_used_up:
            command = structs.replace(command, stored=False)
        units = weight(len(command.envelope))
        self._inbox.in_flight += units

        def published(outcome: Receipt | RelayError) -> None:
            if not self._ended:
                done(outcome if isinstance(outcome, RelayError) else None)
            self._end_publish(units)

        held = self._worker.publish(member, command, published)
        if held:
            pace.hold(held)

    def _note(self, done: Done | None, error: RelayError | None) -> None:
        if error is not None:
            self._metrics.refused(error.code)
        if done is not None:
            done(error)

    # Events of the room.

    def _take(self, event: Event) -> None:
        if not isinstance(event, Message):
            return
        if self._early is not None:
            self._early.append(event)
        else:
            # In the next turn: this runs while the hub delivers, and an answer may have to be published.
            asyncio.get_running_loop().call_soon(self._deliver, event)

    def _deliver_early(self) -> None:
        """Deliver the events that have come while the client was being bound."""
        early, self._early = self._early, None
        for event in early or ():
            self._deliver(event)

    def _deliver(self, event: Message) -> None:
        binding = self._binding
        if binding is None or binding.contact is None or self._shown.take is None:
            return
        try:
            if event.channel == CHANNEL and event.to:
                self._deliver_message(event, binding.contact)
            elif event.to or self._hears:
                self.to_client(write_text(event, binding.contact.text, binding.user, binding.host))
        except (BadField, NotSip, Refused, msgspec.MsgspecError, UnicodeError):
            # No worker writes such an envelope: a client of another protocol has used the channel.
            self._metrics.refused("bad_sip")
        except Exception:
            self._close_after_fault()
        self._shown.mark(event.id)

    def _deliver_message(self, event: Message, contact: Uri) -> None:
        message = read_message(_carried.decode(event.envelope).message.encode())
        message.check()
        place = self._seal.place(message)
        if isinstance(message, SipRequest) and place == event.sender and _is_user(message, event.sender):
            self._proxy.deliver_request(message, event.sender, contact)
        elif isinstance(message, SipResponse) and place == self.peer:
            self._proxy.deliver_response(message, event.sender)
        else:
            self._metrics.refused("bad_sip")

    # Refusals.

    def _check_required(self, request: SipRequest) -> None:
        required = ", ".join(filter(None, request.values("require")))
        if required:
            raise SipRefused("bad_extension", unsupported=required)

    def _refuse(self, request: SipRequest, error: RelayError) -> None:
        """Answer a request that failed; an ACK has no answer."""
        self._metrics.refused(error.code)
        log.debug("a SIP request was refused: %s", error.code)
        if request.method == "ACK":
            return
        answer = refusal(request, error)
        more = {
            401: ("WWW-Authenticate", self._logins.challenges.header(stale="stale" in error.detail)),
            405: ("Allow", ALLOWED),
            420: ("Unsupported", str(error.detail.get("unsupported", ""))),
            423: ("Min-Expires", str(SHORTEST)),
        }.get(answer.status)
        self.to_client(answer if more is None else refusal(request, error, [more]))

    def _too_large(self, command: Command, size: int) -> BadFrame:
        return _with_request(super()._too_large(command, size), command)

    def _too_fast(self, request: Command | BadFrame) -> BadFrame:
        return _with_request(super()._too_fast(request), request)

    def _send_error(
        self, error: RelayError, *, about: str = "", key: str = "", codec: Encoder | None = None, room: str = ""
    ) -> None:
        if isinstance(error, UnservedRequest):
            self._refuse(error.request, error)
            return
        self._metrics.refused(error.code)
        if error.code == BAD_PACKET.name:
            self._connection.close(BAD_PACKET)


def _is_user(request: SipRequest, peer: str) -> bool:
    """Whether the From of a request has the user of this peer.

    The MAC of a Via does not cover the From: a member may have it from a request of its own to another connection.
    """
    return escape_peer(request.sender.uri.user) == peer.partition(SEPARATOR)[0]


def _with_request(error: BadFrame, of: Command | BadFrame) -> BadFrame:
    if isinstance(of, UnservedRequest):
        return UnservedRequest(error, of.request)
    return UnservedRequest(error, of.request) if isinstance(of, ReceivedRequest) else error
