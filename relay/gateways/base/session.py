"""One client's session, whatever its protocol: what comes in, what is answered, and the end of it."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

from relay.gateways.base.join_request import CodecPair, JoinRequest, PauseReading, ResumeClaim
from relay.limits import TokenBucket
from relay.model.codec import Codec, Frame
from relay.model.commands import AskPresence, Command, Detect, Join, Leave, Move, Ping, Publish, Subscribe, Unsubscribe
from relay.model.envelope import MessageId, Receipt
from relay.model.errors import (
    BAD_REQUEST,
    GOODBYE_CODES,
    INTERNAL,
    JOIN_CLOSES,
    TOO_FAST,
    BadFrame,
    CloseReason,
    OutcomeUnknown,
    Refused,
    RelayError,
)
from relay.model.events import (
    Ack,
    Detected,
    Failure,
    LeftRoom,
    Pong,
    PresenceList,
    Roster,
    ServerEvent,
    Subscriptions,
    Welcome,
)
from relay.model.names import check_room
from relay.rooms.connection import Connection
from relay.rooms.member import Member
from relay.rooms.worker import Worker

log = logging.getLogger("relay.session")

_NO_PLACE = frozenset({"not_joined", "peer_taken"})
"""How somebody is refused whose place is no longer there."""


class Session:
    """A `Receiver`: serves messages as they come, one after the other.

    What has to wait for Redis before the next message can be served (joining, asking who is there) is a task, and what
    comes meanwhile waits, as it does when `max_inflight_publishes` are on their way. `pause_reading` stops reading.
    Without an `address`, the connection is not the session's alone, and somebody else answers for it to the worker; all
    its sessions have one `bucket` then.
    """

    __slots__ = (
        "_address",
        "_bucket",
        "_busy",
        "_closing",
        "_codecs",
        "_connection",
        "_ended",
        "_goodbye",
        "_members",
        "_own",
        "_pause_reading",
        "_peer",
        "_publishing",
        "_returns",
        "_waiting",
        "_worker",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        worker: Worker,
        codecs: CodecPair,
        *,
        address: str | None,
        pause_reading: PauseReading,
        bucket: TokenBucket | None = None,
    ) -> None:
        self._connection = connection
        self._worker = worker
        self._codecs = codecs
        self._address = address
        self._pause_reading = pause_reading
        self._own = ""
        self._peer = ""
        self._members: dict[str, Member] = {}
        self._bucket = bucket
        self._publishing = 0
        self._busy = True
        self._waiting: deque[Frame] | None = None
        self._ended = False
        self._goodbye = False
        self._returns = True
        self._closing: CloseReason | None = None
        if address is not None:
            worker.register(self)

    async def enter(self, join_request: Callable[[], JoinRequest]) -> None:
        """Come in; what the client sends meanwhile waits. `join_request` reads the request, and may raise `Refused`."""
        try:
            await self._come_in(join_request())
        except RelayError as error:
            self._fail(error, about="join", codec=self._codecs.own)
            self._connection.close(JOIN_CLOSES.get(error.code, BAD_REQUEST))
        except Exception:
            self._break()
        finally:
            self._done()

    async def _come_in(self, wanted: JoinRequest) -> None:
        self._returns = wanted.returns
        join = Join(
            wanted.room,
            resume=wanted.resume,
            echo=wanted.echo,
            presence=wanted.presence,
            channels=wanted.channels,
            key=wanted.key,
        )
        if wanted.before is None or not await self._come_back(join, wanted.before):
            self._own, self._peer = wanted.room, wanted.peer
            await self._join(join, wanted.since, self._codecs.own)

    async def _come_back(self, join: Join, before: ResumeClaim) -> bool:
        """Whether the client has its place from before again."""
        self._own, self._peer = before.room, before.peer
        join = replace(join, room=before.room, resume=before.resume)
        try:
            await self._join(join, before.since, self._codecs.own, back=True)
        except Refused as error:
            if error.code not in _NO_PLACE:
                raise
            return False
        return True

    # Receiver.

    def received(self, frame: Frame) -> None:
        """See `Receiver.received`."""
        if self._connection.reason is not None:
            return
        traffic = self._worker.metrics.traffic
        traffic.messages_in += 1
        traffic.bytes_in += len(frame.data)
        if self._waiting or self._blocked:
            self._wait(frame)
        else:
            self._serve(frame)

    def disconnected(self, code: int, relay_closed: str | None) -> None:
        """See `Receiver.disconnected`; what a client has sent before it went is served first.

        The places of a client that said goodbye are given up then, those of a lost one held.
        """
        if self._connection.reason is None:
            self._goodbye = relay_closed is None and code in GOODBYE_CODES
            if self._address is not None:
                reason = relay_closed or ("client" if self._goodbye else "lost")
                self._worker.metrics.closed.labels(reason).inc()
        self._ended = True
        if self._address is not None:
            self._worker.unregister(self)
            self._worker.addresses.release(self._address)
        self._go_on()

    # Client.

    def close_gracefully(self, reason: CloseReason, *, now: bool = False) -> None:
        """See `Client.close_gracefully`; reads no further, so that there is an end to what the client has sent."""
        self._closing = reason
        if now:
            self._connection.close(reason)
        elif not self._ended:
            self._pause_reading(paused=True)
            self._close_if_done()

    def _close_if_done(self) -> None:
        if self._closing is not None and not (self._busy or self._waiting or self._publishing):
            self._connection.close(self._closing)

    # What is waited for.

    @property
    def _blocked(self) -> bool:
        return self._busy or self._publishing >= self._worker.settings.max_inflight_publishes

    def _wait(self, frame: Frame) -> None:
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(frame)
        self._pause_reading(paused=True)

    def _go_on(self) -> None:
        while self._waiting and not self._blocked and self._connection.reason is None:
            self._serve(self._waiting.popleft())
        if self._ended:
            if not self._busy and (not self._waiting or self._connection.reason is not None):
                self._waiting = None
                self._leave_all()
            return
        if self._waiting is not None and not self._waiting:
            self._waiting = None
            self._pause_reading(paused=self._closing is not None)
        self._close_if_done()

    def _begin(self, work: Awaitable[None], about: Command) -> None:
        """Do what takes time in a task; nothing else is served until it is done."""
        self._busy = True
        self._worker.spawn(self._finish(work, about))

    async def _finish(self, work: Awaitable[None], about: Command) -> None:
        try:
            await work
        except RelayError as error:
            self._fail(error, about=_name(about), key=about.key)
        except Exception:
            self._break()
        finally:
            self._done()

    def _done(self) -> None:
        self._busy = False
        self._go_on()

    def _leave_all(self) -> None:
        members, self._members = self._members, {}
        leave = self._worker.leave
        for member in members.values():
            if self._goodbye or not self._returns:
                leave(member, hold=False)
            else:
                # Nobody waits for a hold, and thousands may be lost at once.
                self._worker.disconnects.add(partial(leave, member, hold=True))

    def _break(self) -> None:
        log.exception("a session failed; its connection is closed")
        self._connection.close(INTERNAL)

    # What comes in.

    def _serve(self, frame: Frame) -> None:
        try:
            self._obey(self._read(frame))
        except BadFrame as error:
            self._fail(error, about=error.about, key=error.key)
        except Exception:
            self._break()

    def _read(self, frame: Frame) -> Command:
        settings = self._worker.settings
        if self._bucket is None:
            self._bucket = TokenBucket(settings.message_rate, settings.message_burst, self._worker.clock)
        allowed = self._bucket.take()
        if not allowed and self._bucket.overrun:
            self._connection.close(TOO_FAST)
        command = self._codecs.own.decode(frame)
        if len(frame.data) > settings.max_message:
            # Read all the same: whoever waits for an answer under a key gets one.
            text = f"{len(frame.data)} bytes; at most {settings.max_message} are relayed"
            raise BadFrame("too_large", text, about=_name(command), key=command.key)
        if not allowed:
            raise BadFrame("too_fast", about=_name(command), key=command.key)
        return command

    def _obey(self, command: Command) -> None:
        try:
            match command:
                case Publish():
                    self._publish(command)
                case Join():
                    self._begin(self._join_more(command), command)
                case Move():
                    self._begin(self._move(command), command)
                case Leave():
                    self._leave(command)
                case Subscribe() | Unsubscribe():
                    self._listen(command)
                case AskPresence():
                    self._begin(self._list(command), command)
                case Detect():
                    self._begin(self._detect(command), command)
                case Ping():
                    self._answer(command)
        except RelayError as error:
            self._fail(error, about=_name(command), key=command.key)

    def _publish(self, command: Publish) -> None:
        member = self._member(command.room)
        self._publishing += 1
        self._worker.publish(member, command, partial(self._published, member, command.key))

    def _published(self, member: Member, key: str, outcome: Receipt | RelayError) -> None:
        if isinstance(outcome, RelayError):
            self._fail(outcome, about="envelope", key=key, codec=member.codec, room=member.room)
        elif key:
            self._acknowledge(member, outcome.id, key)
            return
        self._published_one()

    def _published_one(self) -> None:
        self._publishing -= 1
        if self._waiting or self._closing:
            # Not at once: this may be in the middle of what the hub delivers.
            asyncio.get_running_loop().call_soon(self._go_on)

    def _acknowledge(self, member: Member, message_id: MessageId, key: str) -> None:
        """In order with what this member hears: an id that it is told means that it was told all before.

        While the worker does not hear Redis, that may not come to pass; then the client is not left without an answer.
        """
        answered = False

        def passed() -> None:
            nonlocal answered
            if not answered:
                answered = True
                late.cancel()
                member.send(Ack(member.room, message_id, key))
                self._published_one()

        def give_up() -> None:
            nonlocal answered
            answered = True
            self._published(member, key, OutcomeUnknown("Redis has it, but this worker did not hear of it in time"))

        late = asyncio.get_running_loop().call_later(self._worker.settings.publish_timeout, give_up)
        self._worker.when_delivered(member.room, message_id, passed)

    async def _join(
        self,
        command: Join,
        since: MessageId | None,
        codec: Codec,
        *,
        moved: Member | None = None,
        back: bool = False,
    ) -> None:
        member = Member(self._connection, codec, command.room, self._peer, echo=command.echo, presence=command.presence)
        if command.channels is not None:
            member.channels = self._checked_channels(command.channels)
        await self._worker.join(member, offered=command.resume, since=since, key=command.key, moved=moved, back=back)
        self._members[command.room] = member

    async def _join_more(self, command: Join) -> None:
        check_room(command.room)
        if command.room in self._members:
            raise Refused("already_joined", room=command.room)
        most = self._worker.settings.rooms_per_connection
        if len(self._members) >= most:
            raise Refused("too_many_rooms", f"at most {most} rooms", room=command.room)
        try:
            since = MessageId.parse(command.since) if command.since else None
        except ValueError:
            raise Refused("bad_command", "since is an id as the relay gave it: epoch-seq") from None
        await self._join(command, since, self._codec_of(command.room))

    async def _move(self, command: Move) -> None:
        check_room(command.room)
        left = self._member("")
        if command.room == left.room:
            self._tell(Welcome(left.room, left.peer, self._worker.newest_id(left), "", resumed=True, key=command.key))
            return
        await self._join(Join(command.room, key=command.key), None, self._codecs.own, moved=left)
        del self._members[left.room]
        self._own = command.room
        self._worker.leave(left, hold=False)

    def _leave(self, command: Leave) -> None:
        member = self._member(command.room)
        del self._members[member.room]
        gone = LeftRoom(member.room, command.key)
        self._worker.leave(member, hold=False).add_done_callback(lambda _: self._tell(gone))

    async def _list(self, command: AskPresence) -> None:
        room = check_room(command.room) if command.room else self._own
        roster = await self._worker.roster(room)
        # Who is in a room is told by name to those who are in it.
        known = roster if room in self._members else Roster(roster.count, (), roster.id)
        self._tell(PresenceList(room, known, command.key))

    async def _detect(self, command: Detect) -> None:
        member = self._member(command.room)
        present = await self._worker.detect(command.name, member.room)
        self._tell(Detected(member.room, present, command.key))

    def _listen(self, command: Subscribe | Unsubscribe) -> None:
        member = self._member(command.room)
        if isinstance(command, Subscribe):
            member.channels = self._checked_channels([*(member.channels or ()), *command.channels])
        elif command.channels is None:
            member.channels = None
        else:
            member.channels = (member.channels or set()) - set(command.channels)
        channels = None if member.channels is None else sorted(member.channels)
        self._tell(Subscriptions(member.room, channels, command.key))

    def _answer(self, ping: Ping) -> None:
        member = self._member(ping.room)
        self._tell(Pong(member.room, self._worker.newest_id(member), ping.key))

    def _checked_channels(self, channels: Sequence[str]) -> set[str]:
        most = self._worker.settings.channels_per_room
        if len(set(channels)) > most:
            raise Refused("too_many_channels", f"at most {most} channels in a room")
        return set(channels)

    def _member(self, room: str) -> Member:
        member = self._members.get(room or self._own)
        if member is None:
            raise Refused("not_joined", room=room or self._own)
        return member

    # What goes out.

    def _codec_of(self, room: str) -> Codec:
        return self._codecs.own if room == self._own else self._codecs.tagged

    def _tell(self, answer: ServerEvent) -> None:
        self._connection.write(self._codec_of(answer.room).encode(answer))

    def _fail(
        self, error: RelayError, *, about: str = "", key: str = "", codec: Codec | None = None, room: str = ""
    ) -> None:
        self._worker.metrics.errors.labels(error.code).inc()
        failure = Failure(error.code, error.text, about, key, room, dict(error.detail))
        self._connection.write((codec or self._codecs.own).encode(failure))


def _name(command: Command) -> str:
    """What an error calls this command."""
    names = {Publish: "envelope", AskPresence: "presence"}
    return names.get(type(command), type(command).__name__.lower())
