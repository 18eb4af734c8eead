"""This worker's rooms and the connections in them: fan-out, and nothing else.

Knows nothing of Redis, of who may join, or of any client protocol: a member brings its codec along, and a frame is made
once per message and codec key, however many members it goes to.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from relay.metrics import Metrics
from relay.model.codec import Batch, Codec, Frame
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.errors import ERRORS, REPLACED
from relay.model.events import (
    Delivery,
    Failure,
    Gap,
    Loss,
    MemberJoined,
    MemberLeft,
    Message,
    PresenceChange,
    PresenceList,
    Recovered,
    Replay,
    RoomEvent,
    Roster,
    TakenOver,
    Welcome,
)
from relay.rooms.member import Member
from relay.rooms.room import LocalRoom

log = logging.getLogger("relay.rooms.hub")

_MOST_HELD = 5000
"""Events of a room that wait until it is known what comes before them."""


class Hub:
    """The rooms of this worker. `deliver` is the bus's sink; `on_gap` is told of rooms that may have missed events."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        later: Callable[[Callable[[], None]], object],
        on_gap: Callable[[Sequence[str]], None],
    ) -> None:
        self._metrics = metrics
        self._later = later
        self._on_gap = on_gap
        self._rooms: dict[str, LocalRoom] = {}
        self._untold: dict[str, None] = {}

    # Who is here.

    def get(self, room: str) -> LocalRoom | None:
        """The room, if anybody of this worker is in it or on the way in."""
        return self._rooms.get(room)

    def names(self) -> list[str]:
        """The rooms of this worker."""
        return list(self._rooms)

    def __len__(self) -> int:
        """How many rooms there are on this worker."""
        return len(self._rooms)

    def members(self) -> Iterator[Member]:
        """Every member with a place, of every room."""
        for room in self._rooms.values():
            yield from room.members.values()
            yield from (member for member in room.joining if member.generation)

    def expect(self, member: Member) -> None:
        """A member is on the way in: from now on, what the room hears is kept for it."""
        room = self._rooms.get(member.room)
        if room is None:
            room = self._rooms[member.room] = LocalRoom(member.room)
            self._metrics.rooms.set(len(self._rooms))
        room.joining[member] = None

    def admit(self, member: Member, generation: int, welcome: Welcome, replay: Replay) -> None:
        """The member has its place as of `replay.id`: welcome it, hand over what it missed, and all that follows.

        `replay` says what it missed since an earlier time, where it asked for that and the welcome says it can be had.
        """
        room = self._rooms[member.room]
        self._displace(room, member.peer, generation)
        self._metrics.members.inc()
        member.generation = generation
        member.since = replay.id
        member.send(welcome)
        if welcome.recovered:
            replayed = sum(self._hand_over(member, event) for event in replay.events)
            member.send(Recovered(member.room, replay.id, replayed))
        self._hand_over_backlog(room, member)
        if room.last == BEFORE_ALL:
            # Nobody here knows of anything earlier; what is still to come of it is not news.
            room.last = room.passed = replay.id
        if member in room.joining and room.last >= replay.id:
            self._promote(room, member)
        if room.suspect and room.held is None:
            self._hold(room)

    def has(self, member: Member) -> bool:
        """Whether the member has its place on this worker still."""
        room = self._rooms.get(member.room)
        return room is not None and (
            room.members.get(member.peer) is member or (member in room.joining and member.generation > 0)
        )

    def remove(self, member: Member) -> bool:
        """The member leaves this worker; False when it had no place here any more."""
        room = self._rooms.get(member.room)
        if room is None:
            return False
        room.watchers.pop(member, None)
        here = member in room.joining and member.generation > 0
        room.joining.pop(member, None)
        if room.members.get(member.peer) is member:
            del room.members[member.peer]
            here = True
        if here:
            self._metrics.members.dec()
        if room.empty:
            del self._rooms[member.room]
            self._metrics.rooms.set(len(self._rooms))
            for _, callback in room.waiting:
                callback()
        return here

    def replaced(self, member: Member) -> None:
        """The member's place belongs to a newer connection: close this one."""
        if self.remove(member):
            member.connection.close(REPLACED)

    def when_delivered(self, room: str, message_id: MessageId, callback: Callable[[], None]) -> None:
        """Call back once everything up to this id was delivered here; at once, if that is so or nobody is here."""
        here = self._rooms.get(room)
        if here is None or message_id <= here.last:
            callback()
        else:
            here.waiting.append((message_id, callback))

    # What may be missing.

    def missing_from(self, room: str) -> MessageId | None:
        """The id after which events of this room may be missing; None while it is not in question."""
        here = self._rooms.get(room)
        if here is None or here.held is None:
            return None
        here.suspect = False
        return here.last

    def repair(self, room: str, replay: Replay, roster: Roster | None) -> None:
        """What was missing is known: deliver it, and what was held meanwhile; what is lost, the members are told.

        The roster is for those who watch the room, where something is lost.
        """
        here = self._rooms.get(room)
        if here is None or here.held is None:
            return
        held, here.held = here.held, None
        lost = replay.lost
        if held and held[0].id <= here.last:
            # What came after the last one has an id from before: the state went back, and forward again meanwhile.
            lost = lost or "epoch"
        if lost == "off":
            # There is no log, but perhaps nothing is missing: all that was published has arrived by now.
            lost = "" if here.is_followed_by(held, replay.id) else lost
            replay = Replay(here.last if not lost else replay.id)
        if lost:
            self._tell_lost(here, here.resumption([*replay.events, *held], replay.id), lost, roster)
        elif replay.events:
            self._metrics.gap_recoveries.inc()
        for event in [*replay.events, *held]:
            if here.held is not None or event.id > here.last:
                self._event(here, event)
        here.passed = max(here.passed, replay.id)
        self._settle(here)
        if here.suspect and here.held is None:
            self._hold(here)

    def tell_roster(self, room: str, roster: Roster) -> None:
        """Tell those who watch a room who is in it."""
        here = self._rooms.get(room)
        if here is not None:
            if here.joined or here.left:
                self._tell_presence(here)
            for member in here.watchers:
                member.send(PresenceList(room, roster))

    # What the bus delivers.

    def deliver(self, batch: Sequence[Delivery]) -> None:
        """Hand each event to the members it is for; each room's in order, rooms one after the other."""
        rooms: dict[str, list[RoomEvent]] = {}
        for event in batch:
            if isinstance(event, Gap):
                self._deliver_to(rooms)
                rooms = {}
                self._gap(event.rooms)
            elif event.room in rooms:
                rooms[event.room].append(event)
            else:
                rooms[event.room] = [event]
        self._deliver_to(rooms)

    def tell_presence(self) -> None:
        """Tell the joins and leaves that have gathered; called shortly after the first of them."""
        untold, self._untold = self._untold, {}
        for name in untold:
            room = self._rooms.get(name)
            if room is not None:
                self._tell_presence(room)

    def _deliver_to(self, rooms: Mapping[str, Sequence[RoomEvent]]) -> None:
        for name, events in rooms.items():
            try:
                self._deliver_room(name, events)
            except Exception:
                # A fault in one room is not the others'.
                log.exception("an event was not delivered")

    def _deliver_room(self, name: str, events: Sequence[RoomEvent]) -> None:
        room = self._rooms.get(name)
        burst = room.burst(events) if room is not None else None
        if room is not None and burst is not None:
            self._burst(room, burst)
            return
        for event in events:
            room = self._rooms.get(name)
            if room is not None:
                self._event(room, event)

    def _event(self, room: LocalRoom, event: RoomEvent) -> None:
        if room.held is not None or not room.is_next(event):
            if event.id > room.passed:
                self._hold(room, event)
            return
        if room.joining:
            self._before(room, event)
        if event.id <= room.last:
            return
        room.last = event.id
        if isinstance(event, Message):
            self._message(room, event)
        elif isinstance(event, TakenOver):
            self._displace(room, event.peer, event.generation)
        else:
            self._presence(room, event)
        if room.joining or room.waiting:
            self._settle(room)

    def _message(self, room: LocalRoom, message: Message) -> None:
        if room.joined or room.left:
            self._tell_presence(room)
        targets: Iterable[Member] = room.members.values()
        if message.to:
            targets = [room.members[peer] for peer in dict.fromkeys(message.to) if peer in room.members]
        frames: dict[str, Frame] = {}
        for member in targets:
            if member.receives(message):
                key = member.codec.key
                frame = frames.get(key)
                if frame is None:
                    frame = frames[key] = self._encode(member.codec, message)
                member.connection.write(frame)

    def _encode(self, codec: Codec, message: Message) -> Frame:
        """What a codec makes of a message; where it fails, its members are told, and nobody else has less for it."""
        try:
            return codec.encode(message)
        except Exception:
            log.exception("codec %s: a message cannot be written", codec.key)
            return codec.encode(self._count_loss(message.room, message.id, "internal"))

    def _burst(self, room: LocalRoom, messages: Sequence[Message]) -> None:
        """Several messages for everybody: one write for each member, whatever their number."""
        room.last = messages[-1].id
        room.passed = BEFORE_ALL
        if room.joined or room.left:
            self._tell_presence(room)
        senders = {message.sender for message in messages}
        batches: dict[str, Batch] = {}
        for member in room.members.values():
            batch = batches.get(member.codec.key)
            if batch is None:
                batch = batches[member.codec.key] = Batch([self._encode(member.codec, message) for message in messages])
            if member.channels is None and (member.echo or member.peer not in senders):
                member.connection.write_batch(batch)
                continue
            frames = [frame for message, frame in zip(messages, batch.frames, strict=True) if member.receives(message)]
            if frames:
                member.connection.write_batch(Batch(frames))
        if room.waiting:
            self._settle(room)

    def _presence(self, room: LocalRoom, event: MemberJoined | MemberLeft) -> None:
        if not room.watchers:
            return
        # A peer that comes and goes within one batch is told of twice: who left and came back is somebody new.
        if event.peer in room.joined or event.peer in room.left:
            self._tell_presence(room)
        (room.joined if isinstance(event, MemberJoined) else room.left)[event.peer] = None
        room.told = event.id
        if not self._untold:
            self._later(self.tell_presence)
        self._untold[room.name] = None

    def _tell_presence(self, room: LocalRoom) -> None:
        change = PresenceChange(room.name, room.told, tuple(room.joined), tuple(room.left))
        room.joined.clear()
        room.left.clear()
        if change.joined or change.left:
            frames: dict[str, Frame] = {}
            for member in room.watchers:
                frame = frames.get(member.codec.key)
                if frame is None:
                    frame = frames[member.codec.key] = member.codec.encode(change)
                member.connection.write(frame)

    # Members on the way in.

    def _before(self, room: LocalRoom, event: RoomEvent) -> None:
        """Those not welcomed yet will want this event; those welcomed before it are in the room now."""
        for member in list(room.joining):
            if not member.generation:
                member.backlog.append(event)
            elif event.id > member.since:
                self._promote(room, member)

    def _promote(self, room: LocalRoom, member: Member) -> None:
        del room.joining[member]
        room.members[member.peer] = member
        if member.presence:
            if room.joined or room.left:
                self._tell_presence(room)
            room.watchers[member] = None

    def _hand_over_backlog(self, room: LocalRoom, member: Member) -> None:
        backlog, member.backlog = member.backlog, []
        given = member.since
        for event in backlog:
            if event.id > given:
                self._hand_over(member, event)
                given = event.id
            if isinstance(event, TakenOver) and event.peer == member.peer:
                self._displace(room, event.peer, event.generation)

    def _hand_over(self, member: Member, event: RoomEvent) -> bool:
        """Tell one member of one event, as live delivery would; returns whether it was an envelope for this member."""
        if isinstance(event, Message):
            if member.receives(event):
                member.connection.write(self._encode(member.codec, event))
                return True
        elif not isinstance(event, TakenOver) and member.presence and event.peer != member.peer:
            joined = (event.peer,) if isinstance(event, MemberJoined) else ()
            left = (event.peer,) if isinstance(event, MemberLeft) else ()
            member.send(PresenceChange(member.room, event.id, joined, left))
        return False

    def _settle(self, room: LocalRoom) -> None:
        """The room has come to a new id: some are in the room now, and some waited for it."""
        for member in list(room.joining):
            if member.generation and room.last >= member.since:
                self._promote(room, member)
        while room.waiting and room.waiting[0][0] <= room.last:
            room.waiting.pop(0)[1]()

    def _displace(self, room: LocalRoom, peer: str, generation: int) -> None:
        """The peer's place belongs to this generation: older connections have lost it."""
        for member in [room.members.get(peer), *room.joining]:
            if member and member.peer == peer and 0 < member.generation < generation:
                self.replaced(member)

    def _hold(self, room: LocalRoom, *events: RoomEvent) -> None:
        """Keep events until it is known what comes before them; ask for that, unless it is asked for already."""
        if room.held is None:
            room.held = []
            self._on_gap([room.name])
        room.held.extend(events)
        if len(room.held) > _MOST_HELD:
            # They are in the log as well.
            room.held.clear()
            room.suspect = True

    def _tell_lost(self, room: LocalRoom, message_id: MessageId, reason: Loss, roster: Roster | None) -> None:
        """Tell everybody here who was in the room before this id that something is missing, and go on from it."""
        if room.joined or room.left:
            self._tell_presence(room)
        failure = self._count_loss(room.name, message_id, reason)
        for member in [*room.members.values(), *(one for one in room.joining if one.generation)]:
            if member.since < message_id:
                member.send(failure)
                if member.presence and roster is not None:
                    member.send(PresenceList(room.name, roster))
        room.last = max(room.last, message_id)

    def _count_loss(self, room: str, message_id: MessageId, reason: Loss) -> Failure:
        """Returns what those who lost something are told."""
        self._metrics.message_losses.labels(reason).inc()
        detail: dict[str, object] = {"reason": reason, "id": str(message_id)}
        return Failure("messages_lost", ERRORS["messages_lost"][1], room=room, detail=detail)

    def _gap(self, rooms: Sequence[str]) -> None:
        self._metrics.room_gaps.inc(len(rooms))
        for name in rooms:
            room = self._rooms.get(name)
            if room is not None:
                room.suspect = True
                if room.held is None:
                    # Whatever was replayed and would have come once more was on its way over what has broken.
                    room.passed = BEFORE_ALL
                    if room.last != BEFORE_ALL:
                        self._hold(room)
