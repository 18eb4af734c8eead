"""The rooms of a process that has no Redis: what the memory bus and the memory presence share.

Does what the Lua scripts do, step for step, for any number of workers in one event loop (one is usual; tests use more).
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from relay.limits import Clock, LogTerms
from relay.model.envelope import MessageId
from relay.model.events import RoomEvent

_IDLE_ROOMS = 10_000
_AGES = 16
"""So often within the age that it may reach is everything looked through for what is older."""

EventSink = Callable[[Sequence[RoomEvent]], None]


@dataclass(slots=True)
class MemoryEntry:
    """A peer's place in a room; `held` is the end of its hold, 0 while connected, `began` as in `JoinResult`."""

    generation: int
    lease: str
    current: str
    previous: str
    began: MessageId
    held: float = 0


@dataclass(slots=True)
class MemoryRoom:
    """One room's sequence, members, keys (the last new one `keyed` then) and log (of what was emitted, and when)."""

    epoch: int
    seq: int = 0
    places: dict[str, MemoryEntry] = field(default_factory=dict)
    repeats: OrderedDict[tuple[str, str], MessageId] = field(default_factory=OrderedDict)
    keyed: float = 0.0
    log: deque[tuple[float, RoomEvent]] = field(default_factory=deque)

    @property
    def id(self) -> MessageId:
        """The newest id."""
        return MessageId(self.epoch, self.seq)

    def next_id(self) -> MessageId:
        """Take the next place in the sequence."""
        self.seq += 1
        return self.id


class MemoryRooms:
    """All rooms, and who listens to them. Events go out in order, what one turn of the loop brought in one go."""

    def __init__(self, clock: Clock, wall_clock: Clock, log: LogTerms) -> None:
        self.clock = clock
        self.leases: dict[str, float] = {}
        self.ended: set[str] = set()
        self._terms = log
        self._wall_clock = wall_clock
        self._rooms: dict[str, MemoryRoom] = {}
        self._idle: OrderedDict[str, None] = OrderedDict()
        self._aged = clock()
        self._listeners: dict[str, dict[EventSink, None]] = {}
        self._outgoing: list[RoomEvent] = []
        self._last_generation = 0

    def room(self, name: str) -> MemoryRoom:
        """The room of this name; it begins when first asked for."""
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = MemoryRoom(epoch=int(self._wall_clock() * 1000))
            self.rest(name)
        return room

    def peek(self, name: str) -> MemoryRoom | None:
        """The room of this name, if there is one."""
        return self._rooms.get(name)

    def occupied(self) -> list[tuple[str, int]]:
        """Every room with members, and how many."""
        return sorted((name, len(room.places)) for name, room in self._rooms.items() if room.places)

    def rest(self, name: str) -> None:
        """Nobody is in the room: its sequence is kept until 10,000 other rooms fell idle after it, its log for less."""
        self._idle[name] = None
        self._idle.move_to_end(name)
        if len(self._idle) > _IDLE_ROOMS:
            oldest, _ = self._idle.popitem(last=False)
            if not self._rooms[oldest].places:
                del self._rooms[oldest]

    def age(self) -> None:
        """Forget what is too old of every room, also of those in which nothing happens; to be called now and then."""
        if self.clock() >= self._aged + self._terms.age / _AGES:
            self._aged = self.clock()
            for room in self._rooms.values():
                self._forget_old(room)

    def next_generation(self) -> int:
        """A generation above all given before."""
        self._last_generation = max(self._last_generation + 1, int(self._wall_clock() * 1_000_000))
        return self._last_generation

    def remember(self, room: MemoryRoom, sender: str, key: str, message_id: MessageId) -> None:
        """A repeat of this key is known from now on, until so many others came after it, or none for a while."""
        room.repeats[sender, key] = message_id
        room.keyed = self.clock()
        if len(room.repeats) > self._terms.repeat_keys:
            room.repeats.popitem(last=False)

    def known(self, room: MemoryRoom, sender: str, key: str) -> MessageId | None:
        """The id under which this key was used before."""
        self._forget_old(room)
        return room.repeats.get((sender, key))

    # Fan-out.

    def listen(self, rooms: Sequence[str], listener: EventSink) -> None:
        """Hand events of these rooms to the listener from now on."""
        for name in rooms:
            self._listeners.setdefault(name, {})[listener] = None

    def ignore(self, rooms: Sequence[str], listener: EventSink) -> None:
        """The end of `listen`."""
        for name in rooms:
            listeners = self._listeners.get(name, {})
            listeners.pop(listener, None)
            if not listeners:
                self._listeners.pop(name, None)

    def emit(self, event: RoomEvent) -> None:
        """Log an event, and send it to whoever listens, in the loop's next turn."""
        self._log(self.room(event.room), event)
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing.append(event)

    def since(self, room: str, after: MessageId) -> tuple[MessageId, list[RoomEvent]]:
        """A room's newest id, and what its log has after the given one; a room that knows less begins a new epoch."""
        state = self.room(room)
        if after > state.id:
            state.epoch, state.seq = max(int(self._wall_clock() * 1000), state.epoch + 1, after.epoch + 1), 0
            state.log.clear()
            state.repeats.clear()
        self._forget_old(state)
        return state.id, [event for _, event in state.log if event.id > after]

    def _log(self, state: MemoryRoom, event: RoomEvent) -> None:
        state.log.append((self.clock(), event))
        if len(state.log) > self._terms.length:
            state.log.popleft()
        self._forget_old(state)

    def _forget_old(self, state: MemoryRoom) -> None:
        oldest = self.clock() - self._terms.age
        while state.log and state.log[0][0] < oldest:
            state.log.popleft()
        if state.keyed < oldest:
            state.repeats.clear()

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        batches: dict[EventSink, list[RoomEvent]] = {}
        for event in outgoing:
            for listener in self._listeners.get(event.room, ()):
                batches.setdefault(listener, []).append(event)
        for listener, batch in batches.items():
            listener(batch)
