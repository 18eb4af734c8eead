"""The session of a client of XMPP: it routes stanzas to rooms, to occupants and to the relay itself."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from msgspec import structs

from relay.gateways.base.inbox import Request, weight
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.room_control import control
from relay.gateways.base.session import WebSocketSession
from relay.gateways.xmpp import stanzas
from relay.gateways.xmpp.codec import Received, RoomFrame, Whitespace, XmppCodec
from relay.gateways.xmpp.connection import CLOSE, XmppConnection
from relay.gateways.xmpp.envelopes import iq_of, message_of
from relay.gateways.xmpp.errors import BadStanza, XmppRefused
from relay.gateways.xmpp.jids import CONFERENCE, Jid, peer_of, room_of
from relay.gateways.xmpp.namespaces import FRAMING, MUC, PING
from relay.gateways.xmpp.negotiation import Negotiation
from relay.gateways.xmpp.occupancies import MOST_HISTORY, Occupancies, Source, join_of
from relay.gateways.xmpp.reading import Document, Element
from relay.gateways.xmpp.requests import (
    MOST_ITEMS,
    answer_of_room,
    answer_of_server,
    control_of,
    is_for_service,
    payload,
)
from relay.gateways.xmpp.rooms import XmppRooms
from relay.gateways.xmpp.writing import tag
from relay.identity.grants import Right
from relay.model.codec import Encoder, Frame
from relay.model.commands import Command, Join, Publish
from relay.model.envelope import Receipt
from relay.model.errors import BAD_PACKET, NORMAL, SLOW, TOKEN_REFUSED, BadFrame, CloseReason, Refused, RelayError
from relay.model.events import Message
from relay.rooms.admissions import Ticket
from relay.rooms.member import Member
from relay.rooms.worker import Worker

LOGIN_TIMEOUT: Final = 30.0
"""Seconds in which a client logs in and binds a resource."""

MOST_STEPS: Final = 16
"""Frames of a login; it has four, and more if a password is wrong."""

MOST_LOGIN: Final = 32_768
"""Bytes of one of them."""

_TO_ONE: Final = frozenset({"", "normal", "chat", "headline"})
_TOKEN: Final = "token_expired"  # noqa: S105 - an error code


class XmppSession(WebSocketSession):
    """Serves one stream, whose client is in any number of rooms, as long as it may.

    The elements ahead of the resource's bind are those of `Negotiation`.
    """

    __slots__ = ("_encoder", "_jid", "_login", "_negotiation", "_occupancies", "_shown", "_steps", "_xmpp_rooms")

    def __init__(self, connection: XmppConnection, worker: Worker, codecs: CodecPair[Frame], ticket: Ticket) -> None:
        super().__init__(connection, worker, codecs, ticket)
        self._rooms = self._xmpp_rooms = XmppRooms(connection, worker, codecs, ticket.address, self._put_out)
        self._shown = connection
        self._negotiation = Negotiation(self)
        self._jid: Jid | None = None
        self._steps = 0
        self._encoder = XmppCodec("")
        self._occupancies = Occupancies(self, self._encoder)
        self._login: asyncio.TimerHandle | None = None
        connection.take = self._take

    async def greet(self) -> None:
        """Wait for the client, which speaks first."""
        self._login = asyncio.get_running_loop().call_later(LOGIN_TIMEOUT, self._give_up)
        self._end_exclusive()

    def _give_up(self) -> None:
        self._end_with(XmppRefused("login_timeout"), "connection-timeout")

    # The party of the negotiation.

    def write(self, frame: Frame) -> None:
        """Write an element that is no stanza."""
        self._shown.opened = True
        self._connection.write(frame)

    def random(self) -> str:
        """Return a random name."""
        return self._worker.random.peer_id().lower()

    async def log_in(self, token: str) -> str:
        """Check the client's token."""
        await self.authenticate(token)
        return "" if self._guard is None else self._guard.grants.subject

    def bound(self, jid: Jid) -> None:
        """Serve stanzas from now on."""
        self._jid, self._encoder = jid, XmppCodec(jid.domain)
        self._occupancies = Occupancies(self, self._encoder)
        self._stop_login_timer()

    @property
    def offers(self) -> str:
        """The features beside the bind."""
        return ""

    # Elements.

    def received(self, incoming: Frame) -> None:
        """Take a frame. Those of a login do not count as messages, as a client of other protocols needs none."""
        if self._jid is not None or self._inbox.must_wait():
            super().received(incoming)
            return
        self._steps += 1
        self._metrics.messages_in += 1
        self._metrics.bytes_in += len(incoming.data)
        if self._connection.reason is not None:
            return
        if self._steps > MOST_STEPS or len(incoming.data) > MOST_LOGIN:
            self._end_with(XmppRefused("bad_stanza", "this is more than a login needs"), "policy-violation")
            return
        try:
            request: Request = self._codec.decode(incoming)
        except BadFrame as error:
            request = error
        self._serve(request)

    def _execute(self, command: Command) -> None:
        if isinstance(command, Whitespace):
            return
        if not isinstance(command, Received):
            super()._execute(command)
            return
        element = command.document.root
        if element.namespace == FRAMING and element.name == "close":
            self._say_goodbye()
            return
        work = self._route(command) if self._jid is not None else self._negotiation.take(element)
        if work is not None:
            self._run_exclusive(work, command)

    def _route(self, command: Received) -> Coroutine[Any, Any, None] | None:
        document = command.document
        stanza = document.root
        if not command.is_stanza:
            raise BadStanza("bad_stanza", "after the bind, there are stanzas", condition="unsupported-stanza-type")
        to = Jid.parse(stanza.get("to")) if stanza.get("to") else None
        if to is not None and to.domain not in {self._domain, CONFERENCE + self._domain}:
            raise XmppRefused("unknown_service")
        match stanza.name:
            case "iq":
                return self._iq(document, to)
            case "presence":
                return self._presence(stanza, to)
            case _:
                self._message(document, to)
        return None

    @property
    def _domain(self) -> str:
        return self._negotiation.domain

    def _is_room(self, to: Jid | None) -> bool:
        return to is not None and to.domain == CONFERENCE + self._domain and bool(to.local)

    def _say_goodbye(self) -> None:
        """End the stream: the client leaves its rooms."""
        self._shown.opened = False
        self._rooms.leave_all(hold=False)
        self._connection.write(CLOSE)
        self._connection.close(NORMAL)

    # Presence.

    def _presence(self, stanza: Element, to: Jid | None) -> Coroutine[Any, Any, None] | None:
        kind = stanza.get("type")
        if to is None or not self._is_room(to):
            # To all contacts, of which there are none; but rooms are left by it.
            return self._leave_all() if kind == "unavailable" and to is None else None
        room = room_of(to.local)
        if kind == "unavailable":
            return self._occupancies.leave(room, stanza.get("id"))
        if kind:
            return None
        if not to.resource:
            raise XmppRefused("bad_jid", "the address names a nick: ROOM@conference.DOMAIN/NICK")
        if stanza.child("x", MUC) is None:
            self._occupancies.of(room)
        peer = peer_of(to.resource)
        return self._occupancies.enter(room, peer, stanza, join_of(room, peer, stanza))

    async def _leave_all(self) -> None:
        for room in [*self._occupancies.rooms]:
            await self._occupancies.leave(room, "")

    # Messages.

    def _message(self, document: Document, to: Jid | None) -> None:
        kind = document.root.get("type")
        if kind == "error":
            return
        if to is None or not self._is_room(to):
            raise XmppRefused("not_served", "messages go to rooms and their occupants")
        room = room_of(to.local)
        self._occupancies.of(room)
        if not to.resource and kind == "groupchat":
            self._send_to_room(document, message_of(document, room))
        elif to.resource and kind in _TO_ONE:
            self._send_to_room(document, message_of(document, room, peer_of(to.resource)))
        else:
            raise XmppRefused("bad_stanza", "a message to all has the type groupchat, and one to an occupant has not")

    def _send_to_room(self, document: Document, publish: Publish) -> None:
        """Publish a stanza; an error about it comes back as one about the stanza."""
        if self._guard is not None:
            self._guard.check(publish, "")
        command = Received(document)
        self._publish_by(self._rooms.member(publish.room), publish, partial(self._sent, command.about, command.key))

    def _publish_by(self, member: Member, publish: Publish, done: Callable[[Receipt | RelayError], None]) -> None:
        pace = self._pace or self._make_pace()
        if not pace.stored.open and pace.stored.is_used_up:
            publish = structs.replace(publish, stored=False)
        units = weight(len(publish.envelope))
        self._inbox.in_flight += units

        def published(outcome: Receipt | RelayError) -> None:
            done(outcome)
            self._end_publish(units)

        held = self._worker.publish(member, publish, published)
        if held:
            pace.hold(held)

    def _sent(self, about: str, key: str, outcome: Receipt | RelayError) -> None:
        if isinstance(outcome, RelayError) and not self._ended:
            self._send_error(outcome, about=about, key=key)

    # IQs.

    def _iq(self, document: Document, to: Jid | None) -> Coroutine[Any, Any, None] | None:
        stanza, kind = document.root, document.root.get("type")
        if kind in {"result", "error"}:
            if to is not None and self._is_room(to) and to.resource and stanza.get("id"):
                self._forward(document, room_of(to.local), peer_of(to.resource))
            return None
        asked = payload(stanza)
        if to is None or is_for_service(to, self._domain):
            self._answer(stanza, answer_of_server(asked, kind, to))
            return None
        room = room_of(to.local)
        if not to.resource:
            return self._ask_room(stanza, asked, room)
        occupancy = self._occupancies.of(room)
        if peer_of(to.resource) == occupancy.peer and asked.namespace == PING:
            # XEP-0410: a client asks whether it is in the room still.
            self._answer(stanza, "")
            return None
        self._occupancies.ask(room, peer_of(to.resource), stanza.get("id"))
        self._forward(document, room, peer_of(to.resource))
        return None

    def _forward(self, document: Document, room: str, peer: str) -> None:
        self._send_to_room(document, iq_of(document, room, peer))

    async def _ask_room(self, stanza: Element, asked: Element, room: str) -> None:
        kind = stanza.get("type")
        occupants: Sequence[str] = ()
        if not self._sees(room):
            raise Refused("not_granted", room=room)
        if "items" in asked.namespace:
            roster = await self._worker.roster(room, MOST_ITEMS)
            occupants = [one.peer for one in roster.members]
        answer = answer_of_room(asked, kind, self._encoder.room(room), occupants)
        if answer is None:
            command = control_of(asked, room, peer_of)
            if command is not None:
                await control(command, self._rooms, self._worker, self._guard, self.ticket.address)
            answer = ""
        self._answer(stanza, answer)

    def _sees(self, room: str) -> bool:
        return self._guard is None or self._guard.allows(Right.PRESENCE, room) or self._rooms.is_in(room)

    def _answer(self, stanza: Element, content: str) -> None:
        self.send(stanzas.result(stanza.get("id"), stanza.get("to"), content))

    # The occupant.

    def _take(self, frame: RoomFrame) -> None:
        try:
            self._occupancies.deliver(frame)
        except Exception:
            # The hub goes on with the other members of the room.
            self._close_after_fault()

    def send(self, frame: Frame, source: Source | None = None) -> None:
        """Write a stanza."""
        self._connection.write(frame)

    async def enter_room(self, join: Join) -> None:
        """Join a room."""
        await self._join(replace(join, can_resume=False), self._encoder)

    async def rename(self, room: str, peer: str, farewell: Publish) -> None:
        """Take another peer id in a room."""
        join = Join(room, peer=peer, echo=True, presence=True, can_resume=False)
        if self._guard is not None:
            join = self._guard.check_join(join)
            self._guard.check(farewell, "")
        before = await self._xmpp_rooms.rename_in(join, self._encoder)
        told = asyncio.Event()
        self._publish_by(before, farewell, lambda _: told.set())
        await told.wait()
        await self._worker.leave(before, hold=False)

    async def leave_room(self, room: str) -> None:
        """Leave a room."""
        await self._rooms.end(room)

    async def history(self, room: str) -> Sequence[Message]:
        """Read the last messages of a room."""
        return await self._worker.history(self._rooms.member(room), MOST_HISTORY)

    def overflow(self) -> None:
        """Close a client for which too much waits."""
        self._connection.close(SLOW)

    def _put_out(self, room: str, reason: CloseReason) -> None:
        self._occupancies.put_out(room, reason)

    # Errors and the end.

    def _send_error(
        self, error: RelayError, *, about: str = "", key: str = "", codec: Encoder | None = None, room: str = ""
    ) -> None:
        self._metrics.refused(error.code)
        if isinstance(error, BadStanza) and error.condition:
            self._end_with(error, error.condition)
        elif key:
            stanza_id, _, sender = key.partition("\n")
            content = tag("x", {"xmlns": MUC}) if about == "presence" else ""
            self.send(stanzas.failure(about, stanza_id, sender, error.code, error.text, content))
        elif error.code == _TOKEN:
            self._shown.fault = error
        elif not about or about == "auth":
            self._tell_apart(error)

    def _tell(self, error: Refused, about: str) -> None:
        self._metrics.refused(error.code)
        self._tell_apart(error)

    def _tell_apart(self, error: RelayError) -> None:
        """Tell the client an error that is about no stanza of its own."""
        if self._jid is None:
            return
        room = str(error.detail.get("room", ""))
        sender = self._encoder.room(room) if room else self._domain
        self.send(stanzas.failure("message", "", sender, error.code, error.text))

    def _end_with(self, error: RelayError, condition: str) -> None:
        self._shown.fault, self._shown.condition = error, condition
        self._shown.opened = True
        self._connection.close(TOKEN_REFUSED if error.code == "login_timeout" else BAD_PACKET)

    def _stop_login_timer(self) -> None:
        if self._login is not None:
            self._login.cancel()
            self._login = None

    def end(self, *, goodbye: bool) -> "asyncio.Future[None] | None":
        """End the session; no object refers back to it then."""
        self._stop_login_timer()
        self._shown.take = None
        return super().end(goodbye=goodbye)
