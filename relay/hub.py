"""This worker's rooms and the connections in them: fan-out, and nothing else.

Knows nothing of Redis, of who may join, or of any client protocol: a member brings its codec along, and a frame is made
once per message and codec key, however many members it goes to.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from relay.codec import Batch, Codec, Frame
from relay.connection import Connection
from relay.envelope import Fence, MessageId
from relay.errors import ERRORS, REPLACED
from relay.events import Delivery, Event, Failure, Gap, Joined, Left, Message, PresenceChange, RoomEvent, TakenOver
from relay.metrics import Metrics

log = logging.getLogger("relay.hub")

BEFORE_ALL = MessageId(0, 0)

_FEW = 4
"""Members among whom it is cheaper to send messages one by one than to put several together first."""


class Member:
    """A connection's membership of one room.

    `generation` is 0 until the place is given, `channels` None while it hears all, `since` the room's id when it was
    welcomed. `resume` and `previous_resume` are fingerprints. `backlog` holds what arrives before the welcome is out.
    """

    __slots__ = (
        "backlog",
        "channels",
        "codec",
        "connection",
        "echo",
        "fence",
        "generation",
        "peer",
        "presence",
        "previous_resume",
        "resume",
        "room",
        "since",
    )

    def __init__(
        self, connection: Connection, codec: Codec, room: str, peer: str, *, echo: bool = False, presence: bool = False
    ) -> None:
        self.connection = connection
        self.codec = codec
        self.room = room
        self.peer = peer
        self.echo = echo
        self.presence = presence
        self.channels: set[str] | None = None
        self.generation = 0
        self.fence = Fence()
        self.resume = ""
        self.previous_resume = ""
        self.since = BEFORE_ALL
        self.backlog: list[RoomEvent] = []

    def tell(self, event: Event) -> None:
        """Write one event to this member alone."""
        self.connection.write(self.codec.encode(event))

    def hears(self, message: Message) -> bool:
        """Whether a message of this room is for this member: by sender, addressees and channel."""
        if message.sender == self.peer and not self.echo:
            return False
        if message.to and self.peer not in message.to:
            return False
        return self.channels is None or message.channel in self.channels


class Room:
    """One room's members on this worker.

    `joining` are those on the way in: not welcomed yet, or welcomed with an id that the room has not come to. `last` is
    the newest id that was delivered.
    """

    __slots__ = ("joined", "joining", "last", "left", "members", "name", "told", "waiting", "watchers")

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[str, Member] = {}
        self.joining: dict[Member, None] = {}
        self.watchers: dict[Member, None] = {}
        self.last = BEFORE_ALL
        # Joins and leaves not told yet, and who waits for an id to go by.
        self.joined: dict[str, None] = {}
        self.left: dict[str, None] = {}
        self.told = BEFORE_ALL
        self.waiting: list[tuple[MessageId, Callable[[], None]]] = []

    def newest(self) -> MessageId:
        """The newest id that anybody here was told."""
        return max([self.last, *[member.since for member in self.joining]])

    @property
    def empty(self) -> bool:
        """Whether nobody is in the room or on the way in."""
        return not self.members and not self.joining


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
        self._rooms: dict[str, Room] = {}
        self._untold: dict[str, None] = {}

    # Who is here.

    def get(self, room: str) -> Room | None:
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
            room = self._rooms[member.room] = Room(member.room)
            self._metrics.rooms.set(len(self._rooms))
        room.joining[member] = None

    def admit(self, member: Member, since: MessageId, welcome: Event) -> None:
        """The member has its place as of `since`: welcome it, and hand over all that came and comes after that."""
        room = self._rooms[member.room]
        self._displace(room, member.peer, member.generation)
        self._metrics.members.inc()
        member.since = since
        member.tell(welcome)
        backlog, member.backlog = member.backlog, []
        for event in backlog:
            if not isinstance(event, TakenOver) and event.id > since:
                self._hand_over(member, event)
        if room.last >= since:
            self._promote(room, member)

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

    def when_passed(self, room: str, message_id: MessageId, callback: Callable[[], None]) -> None:
        """Call back once everything up to this id was delivered here; at once, if that is so or nobody is here."""
        here = self._rooms.get(room)
        if here is None or message_id <= here.last:
            callback()
        else:
            here.waiting.append((message_id, callback))

    def caught_up(self, room: str, message_id: MessageId) -> None:
        """Nothing up to this id is still to come: if it has not come by now, it is lost, and the members are told."""
        here = self._rooms.get(room)
        if here is not None and here.newest() < message_id:
            if here.newest().epoch == message_id.epoch:
                self._tell_lost(here)
            here.last = message_id
            self._settle(here)

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
        burst = _as_burst(room, events) if room is not None else None
        if room is not None and burst is not None:
            self._burst(room, burst)
            return
        for event in events:
            room = self._rooms.get(name)
            if room is not None:
                self._event(room, event)

    def _event(self, room: Room, event: RoomEvent) -> None:
        if isinstance(event, TakenOver):
            self._displace(room, event.peer, event.generation)
            return
        if room.joining:
            self._before(room, event)
        self._follow(room, event.id)
        if isinstance(event, Message):
            self._message(room, event)
        else:
            self._presence(room, event)
        if room.joining or room.waiting:
            self._settle(room)

    def _message(self, room: Room, message: Message) -> None:
        if room.joined or room.left:
            self._tell_presence(room)
        targets: Iterable[Member] = room.members.values()
        if message.to:
            targets = [room.members[peer] for peer in dict.fromkeys(message.to) if peer in room.members]
        frames: dict[str, Frame] = {}
        for member in targets:
            if member.hears(message):
                key = member.codec.key
                frame = frames.get(key)
                if frame is None:
                    frame = frames[key] = member.codec.encode(message)
                member.connection.write(frame)

    def _burst(self, room: Room, messages: Sequence[Message]) -> None:
        """Several messages for everybody: one write for each member, whatever their number."""
        room.last = messages[-1].id
        if room.joined or room.left:
            self._tell_presence(room)
        senders = {message.sender for message in messages}
        batches: dict[str, Batch] = {}
        for member in room.members.values():
            batch = batches.get(member.codec.key)
            if batch is None:
                batch = batches[member.codec.key] = Batch([member.codec.encode(message) for message in messages])
            if member.channels is None and (member.echo or member.peer not in senders):
                member.connection.write_batch(batch)
                continue
            frames = [frame for message, frame in zip(messages, batch.frames, strict=True) if member.hears(message)]
            if frames:
                member.connection.write_batch(Batch(frames))
        if room.waiting:
            self._settle(room)

    def _presence(self, room: Room, event: Joined | Left) -> None:
        if not room.watchers:
            return
        # A peer that comes and goes within one batch is told of twice: who left and came back is somebody new.
        if event.peer in room.joined or event.peer in room.left:
            self._tell_presence(room)
        (room.joined if isinstance(event, Joined) else room.left)[event.peer] = None
        room.told = event.id
        if not self._untold:
            self._later(self.tell_presence)
        self._untold[room.name] = None

    def _tell_presence(self, room: Room) -> None:
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

    def _before(self, room: Room, event: RoomEvent) -> None:
        """Those not welcomed yet will want this event; those welcomed before it are in the room now."""
        for member in list(room.joining):
            if not member.generation:
                member.backlog.append(event)
            elif not isinstance(event, TakenOver) and event.id > member.since:
                self._promote(room, member)

    def _promote(self, room: Room, member: Member) -> None:
        del room.joining[member]
        room.members[member.peer] = member
        if member.presence:
            if room.joined or room.left:
                self._tell_presence(room)
            room.watchers[member] = None

    def _hand_over(self, member: Member, event: Message | Joined | Left) -> None:
        if isinstance(event, Message):
            if member.hears(event):
                member.tell(event)
        elif member.presence and event.peer != member.peer:
            joined = (event.peer,) if isinstance(event, Joined) else ()
            left = (event.peer,) if isinstance(event, Left) else ()
            member.tell(PresenceChange(member.room, event.id, joined, left))

    def _settle(self, room: Room) -> None:
        """The room has come to a new id: some are in the room now, and some waited for it."""
        for member in list(room.joining):
            if member.generation and room.last >= member.since:
                self._promote(room, member)
        while room.waiting and room.waiting[0][0] <= room.last:
            room.waiting.pop(0)[1]()

    def _displace(self, room: Room, peer: str, generation: int) -> None:
        """The peer's place belongs to this generation: older connections have lost it."""
        for member in [room.members.get(peer), *room.joining]:
            if member and member.peer == peer and 0 < member.generation < generation:
                self.replaced(member)

    # What may be missing.

    def _follow(self, room: Room, message_id: MessageId) -> None:
        """A room's ids have no holes: one that does not follow the last shows what was missed, or a new epoch."""
        last = room.last
        if last != BEFORE_ALL and message_id != (last.epoch, last.seq + 1) and message_id > last:
            if message_id.epoch == last.epoch:
                self._tell_lost(room)
            self._gap([room.name])
        room.last = max(last, message_id)

    def _tell_lost(self, room: Room) -> None:
        for member in list(room.members.values()):
            member.tell(Failure("messages_lost", ERRORS["messages_lost"][1], room=room.name))

    def _gap(self, rooms: Sequence[str]) -> None:
        self._metrics.bus_gaps.inc(len(rooms))
        here = [name for name in rooms if name in self._rooms]
        if here:
            self._on_gap(here)


def _as_burst(room: Room, events: Sequence[RoomEvent]) -> Sequence[Message] | None:
    """These events, if they are messages for everybody that follow each other and what came before."""
    if len(events) == 1 or room.joining or len(room.members) < _FEW:
        return None
    epoch, seq = room.last
    messages: list[Message] = []
    for event in events:
        seq += 1
        if not isinstance(event, Message) or event.to or event.id != (epoch, seq):
            return None
        messages.append(event)
    return messages
