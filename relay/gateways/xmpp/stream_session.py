"""The stream of a client of XMPP: its login, its management and resumption, and the rooms that it is in."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Final

from msgspec import structs

from relay.gateways.base.costs import JOIN_COST
from relay.gateways.base.inbox import Request, weight
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.session import Session
from relay.gateways.xmpp import stanzas
from relay.gateways.xmpp.checkpoint import Checkpoint, missed, read_checkpoint
from relay.gateways.xmpp.codec import STANZAS, Received, RoomFrame, Whitespace, XmppCodec
from relay.gateways.xmpp.connection import CLOSE, XmppConnection
from relay.gateways.xmpp.errors import BadStanza, XmppRefused
from relay.gateways.xmpp.jids import Jid
from relay.gateways.xmpp.namespaces import FRAMING, MUC, SM
from relay.gateways.xmpp.negotiation import Negotiation
from relay.gateways.xmpp.occupancies import MOST_HISTORY, Occupancies
from relay.gateways.xmpp.reading import Element
from relay.gateways.xmpp.resumption import (
    ResumeRequest,
    RoomReplay,
    enabled,
    failed,
    joins_of,
    keyed,
    read_request,
    resumed,
)
from relay.gateways.xmpp.rooms import XmppRooms
from relay.gateways.xmpp.stream_management import ManagedStream, Source, StreamIdentity
from relay.gateways.xmpp.writing import tag
from relay.ids import fingerprint
from relay.model.checkpoints import FIRST_TURN
from relay.model.codec import Encoder, Frame
from relay.model.commands import Command, Join, Publish
from relay.model.envelope import MessageId, Receipt
from relay.model.errors import (
    BAD_PACKET,
    NORMAL,
    REPLACED,
    SLOW,
    TOKEN_REFUSED,
    UNAVAILABLE,
    BadFrame,
    CloseReason,
    OutcomeUnknown,
    Refused,
    RelayError,
    Unavailable,
)
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


class XmppStream(Session[Frame]):
    """Serves one stream, whose client is in any number of rooms, as far as it may; a subclass serves its stanzas.

    The elements ahead of the resource's bind are those of `Negotiation`. The session is its `Party`, and the `Occupant`
    of the client's rooms.
    """

    __slots__ = (
        "_encoder",
        "_former",
        "_jid",
        "_login",
        "_managed",
        "_negotiation",
        "_occupancies",
        "_owes_count",
        "_replay",
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
        self._managed: ManagedStream | None = None
        self._replay: RoomReplay | None = None
        self._former = ""
        self._owes_count = False
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
        return tag("sm", {"xmlns": SM}) if self._shown.manages else ""

    # Stream management.

    def _serve(self, request: Request) -> None:
        if self._managed is not None and _is_stanza(request):
            self._managed.handled += 1
        super()._serve(request)

    def _manage(self, element: Element, jid: Jid) -> None:
        managed = self._managed
        match element.name:
            case "enable" if managed is None and self._shown.manages:
                self._enable(jid, resumable=element.get("resume") in {"true", "1"})
            case "r" if managed is not None:
                # A stanza that is not published yet does not count as handled.
                self._owes_count = bool(self._inbox.in_flight)
                if not self._owes_count:
                    managed.acknowledge_client()
            case "a" if managed is not None:
                managed.acknowledged(int(count) if (count := element.get("h")).isdecimal() and len(count) < 11 else 0)
            case _:
                self._connection.write(failed("unexpected-request"))

    def _enable(self, jid: Jid, *, resumable: bool) -> None:
        key = self._worker.random.resume_key()
        self._managed = self._stream(jid, key, resumable=resumable)
        self._shown.resumable = resumable
        self._connection.write(enabled(key if resumable else "", int(self._worker.settings.reconnect_grace)))

    def _stream(self, jid: Jid, key: str, *, resumable: bool, turn: int = FIRST_TURN) -> ManagedStream:
        settings = self._worker.settings
        return ManagedStream(
            key,
            self._identity(jid.local, jid.resource),
            self._worker.checkpoints if resumable else None,
            write=self._connection.write,
            members=lambda: {one.room: one.peer for one in self._rooms.memberships()},
            spawn=self._worker.spawn,
            turn=turn,
            limit=settings.send_buffer,
            # A worker that takes the members over holds them as long again.
            kept_for=2 * settings.reconnect_grace + settings.worker_lease,
        )

    def _identity(self, user: str, resource: str) -> StreamIdentity:
        subject = "" if self._guard is None else self._guard.grants.subject
        return StreamIdentity(user, resource, self._domain, subject)

    async def resume(self, element: Element) -> None:
        """Resume a stream; a client that cannot binds a resource, and takes its places in rooms over one by one."""
        request = read_request(element, time.monotonic()) if self._shown.manages else None
        try:
            if request is None or not await self._find_and_resume(request):
                self._connection.write(failed("item-not-found"))
        except (Unavailable, OutcomeUnknown):
            # The client comes back, and asks again.
            self._connection.close(UNAVAILABLE)

    async def _find_and_resume(self, request: ResumeRequest) -> bool:
        found = read_checkpoint(await self._worker.checkpoints.read(fingerprint(request.key)))
        if found is not None and not self._is_own(found):
            return False
        self._former = request.key
        # A client that has less than it acknowledged has asked before, and was served elsewhere since: its request was
        # late. The client's present stream is not touched.
        return found is not None and found.acknowledged <= request.count and await self._resumed(request, found)

    def _is_own(self, checkpoint: Checkpoint) -> bool:
        # The user of an anonymous login is another one each time.
        own = self._identity(checkpoint.user, checkpoint.resource)
        return (own.domain, own.subject) == (checkpoint.domain, checkpoint.subject)

    async def _resumed(self, request: ResumeRequest, checkpoint: Checkpoint) -> bool:
        key, count = request.key, request.count
        # Of several resumptions, each has a turn of its own. The newest one may go on, and the others are ended.
        checkpoints, name = self._worker.checkpoints, fingerprint(key)
        turn = await checkpoints.begin_turn(name)
        encoder, self._replay = XmppCodec(self._domain), RoomReplay()
        replay = self._replay
        try:
            for join in joins_of(checkpoint, request):
                (self._pace or self._make_pace()).spend(JOIN_COST)
                allowed = join if self._guard is None else self._guard.check_join(join)
                await self._xmpp_rooms.resume(allowed, encoder)
            outcome, newest = None, await checkpoints.newest_turn(name) == turn
            # Nothing is awaited from here on: the events that come are the client's at once.
            if newest and replay.is_complete({place.room: place for place in checkpoint.places}):
                outcome = missed(checkpoint, count, replay.stanzas)
        except Refused as error:
            outcome, newest = None, error.code != "superseded"
        finally:
            self._replay = None
        if self._ended:
            # The client gave the attempt up without an answer: its close does not end its memberships.
            self._goodbye = False
            return True
        if not newest:
            # The newer resumption has the places, or takes them from here, where they are held.
            self._connection.close(REPLACED)
            return True
        if outcome is None:
            for member in self._rooms.memberships():
                await self._rooms.end(member.room)
            return False
        jid = Jid(checkpoint.user, self._domain, checkpoint.resource)
        self.bound(jid)
        self._shown.resumable = True
        self._managed = self._stream(jid, key, resumable=True, turn=turn)
        self._managed.begin_at(count, checkpoint.handled, outcome[0])
        for welcome in replay.welcomes.values():
            self._occupancies.resume(welcome)
        self._connection.write(resumed(key, checkpoint.handled))
        for one in outcome[1]:
            self.send(one.frame, Source(one.room, one.id, one.logged) if one.room else None)
        return True

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
        if element.namespace == SM and self._jid is not None:
            self._manage(element, self._jid)
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
        if self._managed is not None:
            self._managed.end(resumable=False)
            self._managed = None
        self._shown.resumable = False
        self._rooms.leave_all(hold=False)
        self._connection.write(CLOSE)
        self._connection.close(NORMAL)

    # Publishing.

    def _publish_by(self, member: Member, publish: Publish, done: Callable[[Receipt | RelayError], None]) -> None:
        pace = self._pace or self._make_pace()
        if not pace.stored.open and pace.stored.is_used_up:
            publish = structs.replace(publish, stored=False)
        if self._shown.resumable and self._managed is not None and not publish.key:
            # A client that comes back may send it again.
            publish = structs.replace(publish, key=self._managed.publish_key())
        units = weight(len(publish.envelope))
        self._inbox.in_flight += units

        def published(outcome: Receipt | RelayError) -> None:
            done(outcome)
            self._end_publish(units)
            if self._owes_count and not self._inbox.in_flight and self._managed is not None:
                self._owes_count = False
                self._managed.acknowledge_client()

        held = self._worker.publish(member, publish, published)
        if held:
            pace.hold(held)

    # The occupant.

    def _take(self, frame: RoomFrame) -> None:
        try:
            if self._replay is not None:
                self._replay.take(frame)
            else:
                self._occupancies.deliver(frame)
        except Exception:
            # The hub goes on with the other members of the room.
            self._close_after_fault()

    def send(self, frame: Frame, source: Source | None = None) -> None:
        """Write a stanza."""
        if self._managed is None:
            self._connection.write(frame)
            return
        self._managed.send(frame, source)
        if self._managed.overflows:
            self.overflow()

    @property
    def counts(self) -> bool:
        """Whether the stream is managed."""
        return self._managed is not None

    def entered(self, room: str, position: MessageId) -> None:
        """Take note of a room."""
        if self._managed is not None:
            self._managed.enter(room, position)

    def _keyed(self, join: Join) -> Join:
        if self._managed is None or not self._shown.resumable:
            return replace(join, can_resume=False)
        return keyed(join, self._managed.key, self._former)

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
        if self._managed is not None:
            self._managed.leave(room)

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
        """End the session; no object refers back to it once all requests are served."""
        if self._managed is not None and self._shown.resumable:
            self._managed.end(resumable=True)
        self._stop_login_timer()
        self._shown.take = None
        return super().end(goodbye=goodbye)

    def _drain_inbox(self) -> None:
        super()._drain_inbox()
        if self._ended and not self._inbox.exclusive and not self._inbox.waiting:
            # The stanzas that were served since the end needed it: the client may send them again.
            self._managed = None


def _is_stanza(request: Request) -> bool:
    if isinstance(request, BadFrame):
        return request.about in STANZAS
    return isinstance(request, Received) and request.is_stanza
