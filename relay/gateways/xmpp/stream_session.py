"""The stream of a client of XMPP: its login, and the rooms that it is in."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from msgspec import structs

from relay.gateways.base.inbox import Request, weight
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.session import Session
from relay.gateways.xmpp import stanzas
from relay.gateways.xmpp.codec import Received, RoomFrame, Whitespace, XmppCodec
from relay.gateways.xmpp.connection import CLOSE, XmppConnection
from relay.gateways.xmpp.errors import BadStanza, XmppRefused
from relay.gateways.xmpp.jids import Jid
from relay.gateways.xmpp.namespaces import FRAMING, MUC
from relay.gateways.xmpp.negotiation import Negotiation
from relay.gateways.xmpp.occupancies import MOST_HISTORY, Occupancies
from relay.gateways.xmpp.reading import Element
from relay.gateways.xmpp.rooms import XmppRooms
from relay.gateways.xmpp.stream_management import Source
from relay.gateways.xmpp.writing import tag
from relay.model.codec import Encoder, Frame
from relay.model.commands import Command, Join, Publish
from relay.model.envelope import MessageId
from relay.model.errors import (
    BAD_PACKET,
    NORMAL,
    SLOW,
    TOKEN_REFUSED,
    BadFrame,
    CloseReason,
    Refused,
    RelayError,
)
from relay.model.events import Message
from relay.model.publication import Receipt
from relay.rooms.admissions import Ticket
from relay.rooms.member import Member
from relay.rooms.worker import Worker

LOGIN_TIMEOUT: Final = 30.0
"""Seconds in which a client logs in and binds a resource."""

MOST_STEPS: Final = 16
"""Frames of a login; it has four, and more if a password is wrong."""

MOST_LOGIN: Final = 32_768
"""Bytes of one of them."""

_TOKEN: Final = "token_expired"  # noqa: S105 - an error code


class XmppStream(Session[Frame]):
    """Serves one stream, whose client is in any number of rooms, as far as it may; a subclass serves its stanzas.

    The elements ahead of the resource's bind are those of `Negotiation`. The session is its `Party`, and the `Occupant`
    of the client's rooms. A subclass may manage the stream; without that, its memberships are not held.
    """

    __slots__ = (
        "_encoder",
        "_jid",
        "_login",
        "_negotiation",
        "_occupancies",
        "_shown",
        "_steps",
        "_xmpp_rooms",
    )  # fmt: skip

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

    def bound(self, jid: Jid, asked: Sequence[str] = ()) -> None:
        """Serve stanzas from now on; `asked` are the IQs whose answers a client that comes back waits for."""
        self._jid, self._encoder = jid, XmppCodec(jid.domain)
        self._occupancies = Occupancies(self, self._encoder, asked)
        self._stop_login_timer()

    @property
    def offers(self) -> str:
        """The features beside the bind."""
        return ""

    async def resume(self, element: Element) -> None:
        """Resume a stream, and answer."""
        raise NotImplementedError

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
        """Serve an element of a client that has bound its resource; returns work to wait for."""
        raise NotImplementedError

    @property
    def _domain(self) -> str:
        return self._negotiation.domain

    def _say_goodbye(self) -> None:
        """End the stream: the client leaves its rooms."""
        self._shown.opened = False
        self._rooms.leave_all(hold=False)
        self._connection.write(CLOSE)
        self._connection.close(NORMAL)

    # Publishing.

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

    # The occupant.

    def _take(self, frame: RoomFrame) -> None:
        try:
            self._deliver(frame)
        except Exception:
            # The hub goes on with the other members of the room.
            self._close_after_fault()

    def _deliver(self, frame: RoomFrame) -> None:
        self._occupancies.deliver(frame)

    def send(self, frame: Frame, source: Source | None = None) -> None:
        """Write a stanza."""
        self._connection.write(frame)

    @property
    def counts(self) -> bool:
        """Whether the stream is managed."""
        return False

    def entered(self, room: str, position: MessageId) -> None:
        """Take note of a room."""

    def _keyed(self, join: Join) -> Join:
        """Return a join with the key by which its membership can be resumed, if there is one."""
        return structs.replace(join, can_resume=False)

    async def enter_room(self, join: Join) -> None:
        """Join a room."""
        await self._join(self._keyed(join), self._encoder)

    async def rename(self, room: str, peer: str, farewell: Publish) -> None:
        """Take another peer id in a room."""
        join = self._keyed(Join(room, peer=peer, echo=True, presence=True))
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
        self._forget_room(room)
        await self._rooms.end(room)

    def _forget_room(self, room: str) -> None:
        """Take note that the client is in a room no more."""

    async def history(self, room: str) -> Sequence[Message]:
        """Read the last messages of a room."""
        return await self._worker.history(self._rooms.member(room), MOST_HISTORY)

    def overflow(self) -> None:
        """Close a client for which too much waits."""
        self._connection.close(SLOW)

    def _put_out(self, room: str, reason: CloseReason) -> None:
        self._forget_room(room)
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
        """End the session."""
        self._stop_login_timer()
        self._shown.take = None
        return super().end(goodbye=goodbye)
