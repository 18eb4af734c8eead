"""The stream of a client of XMPP that is managed (XEP-0198): it counts stanzas, and is resumed on any worker."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from msgspec import structs

from relay.gateways.base.costs import JOIN_COST
from relay.gateways.base.inbox import Request
from relay.gateways.base.join_request import CodecPair
from relay.gateways.xmpp.checkpoint import Checkpoint, Missed, missed, read_checkpoint
from relay.gateways.xmpp.codec import STANZAS, Received, RoomFrame, XmppCodec
from relay.gateways.xmpp.connection import XmppConnection
from relay.gateways.xmpp.jids import Jid
from relay.gateways.xmpp.namespaces import SM
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
from relay.gateways.xmpp.stream_management import ManagedStream, Source, StreamIdentity
from relay.gateways.xmpp.stream_session import XmppStream
from relay.gateways.xmpp.writing import tag
from relay.ids import fingerprint
from relay.model.checkpoints import FIRST_TURN
from relay.model.codec import Frame
from relay.model.commands import Command, Join, Publish
from relay.model.envelope import MessageId
from relay.model.errors import REPLACED, UNAVAILABLE, BadFrame, OutcomeUnknown, Refused, RelayError, Unavailable
from relay.model.publication import Receipt
from relay.rooms.admissions import Ticket
from relay.rooms.member import Member
from relay.rooms.worker import Worker


class ManagedXmppStream(XmppStream):
    """An `XmppStream` with stream management, where the connection offers it and the client enables it."""

    __slots__ = ("_former", "_managed", "_owes_count", "_replay", "_working")

    def __init__(self, connection: XmppConnection, worker: Worker, codecs: CodecPair[Frame], ticket: Ticket) -> None:
        super().__init__(connection, worker, codecs, ticket)
        self._managed: ManagedStream | None = None
        self._replay: RoomReplay | None = None
        # The key of a stream that could not be resumed: by it, the client takes its places in rooms over.
        self._former = ""
        self._owes_count = False
        # The number of the stanza that runs as an exclusive command.
        self._working: int | None = None

    @property
    def offers(self) -> str:
        """The features beside the bind."""
        return tag("sm", {"xmlns": SM}) if self._shown.manages else ""

    # Elements.

    def _serve(self, request: Request) -> None:
        if self._managed is not None and _is_stanza(request):
            self._managed.handled += 1
        super()._serve(request)

    def _run_exclusive(self, work: Coroutine[Any, Any, None], command: Command) -> None:
        if self._managed is not None:
            self._working = self._managed.begin_work()
        super()._run_exclusive(work, command)

    def _end_exclusive(self) -> None:
        if self._managed is not None and self._working is not None:
            self._managed.end_work(self._working)
        self._working = None
        super()._end_exclusive()

    def _execute(self, command: Command) -> None:
        if self._jid is not None and isinstance(command, Received) and command.document.root.namespace == SM:
            self._manage(command.document.root, self._jid)
        else:
            super()._execute(command)

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
        # The memberships of before have no keys: a stream that is resumed would be in no room.
        resumable = resumable and not self._occupancies.rooms
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
            asked=lambda: self._occupancies.asked,
            spawn=self._worker.spawn,
            give_up=lambda: self._connection.close(UNAVAILABLE),
            turn=turn,
            limit=settings.send_buffer,
            # A worker that takes the members over holds them as long again.
            kept_for=2 * settings.reconnect_grace + settings.worker_lease,
        )

    def _identity(self, user: str, resource: str) -> StreamIdentity:
        subject = "" if self._guard is None else self._guard.grants.subject
        return StreamIdentity(user, resource, self._domain, subject)

    def _say_goodbye(self) -> None:
        if self._managed is not None:
            self._managed.end(resumable=False)
            self._managed = None
        self._shown.resumable = False
        super()._say_goodbye()

    # Resuming.

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
        encoder, self._replay = XmppCodec(self._domain), RoomReplay(self._worker.settings.send_buffer)
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
            # The places stay the client's: it enters the rooms anew, with the key of the stream.
            self._rooms.leave_all(hold=True)
            return False
        jid = Jid(checkpoint.user, self._domain, checkpoint.resource)
        self.bound(jid, checkpoint.asked)
        self._shown.resumable = True
        self._managed = self._stream(jid, key, resumable=True, turn=turn)
        self._managed.begin_at(count, checkpoint.handled, outcome[0])
        self._answer_resumed(key, checkpoint, replay, outcome[1])
        return True

    def _answer_resumed(self, key: str, checkpoint: Checkpoint, replay: RoomReplay, stanzas: Sequence[Missed]) -> None:
        """Answer a resumption, and send the stanzas that the client has missed."""
        for welcome in replay.welcomes.values():
            self._occupancies.resume(welcome, replay.stanzas[welcome.room])
        self._connection.write(resumed(key, checkpoint.handled))
        for one in stanzas:
            if one.stanza is not None:
                self._occupancies.deliver_missed(one, one.stanza)
                continue
            self.send(one.frame, Source(one.room, one.id, one.logged) if one.room else None)

    # Publishing.

    def _publish_by(self, member: Member, publish: Publish, done: Callable[[Receipt | RelayError], None]) -> None:
        managed = self._managed
        if managed is None:
            super()._publish_by(member, publish, done)
            return
        if self._shown.resumable and not publish.key:
            # A client that comes back may send it again.
            publish = structs.replace(publish, key=managed.publish_key())
        number = managed.begin_work()

        def published(outcome: Receipt | RelayError) -> None:
            done(outcome)
            managed.end_work(number)

        super()._publish_by(member, publish, published)

    def _end_publish(self, units: int) -> None:
        super()._end_publish(units)
        if self._owes_count and not self._inbox.in_flight and self._managed is not None:
            self._owes_count = False
            self._managed.acknowledge_client()

    # The occupant.

    def _deliver(self, frame: RoomFrame) -> None:
        if self._replay is not None:
            self._replay.take(frame)
        else:
            super()._deliver(frame)

    def send(self, frame: Frame, source: Source | None = None) -> None:
        """Write a stanza."""
        if self._managed is None:
            super().send(frame, source)
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
            return super()._keyed(join)
        return keyed(join, self._managed.key, self._former)

    def _forget_room(self, room: str) -> None:
        if self._managed is not None:
            self._managed.leave(room)

    # The end.

    def end(self, *, goodbye: bool) -> "asyncio.Future[None] | None":
        """End the session; no object refers back to it once all requests are served."""
        if self._managed is not None and self._shown.resumable:
            self._managed.end(resumable=True)
        return super().end(goodbye=goodbye)

    def _drain_inbox(self) -> Sequence[asyncio.Future[None]] | None:
        leaving = super()._drain_inbox()
        if self._ended and not self._inbox.exclusive and not self._inbox.waiting:
            # The stanzas that were served since the end needed it: the client may send them again.
            self._managed = None
        return leaving


def _is_stanza(request: Request) -> bool:
    if isinstance(request, BadFrame):
        return request.about in STANZAS
    return isinstance(request, Received) and request.is_stanza
