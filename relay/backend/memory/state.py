"""The rooms of a process without Redis: the state that the memory bus, presence and leases share.

It follows the Lua scripts step by step, for any number of workers in one event loop (one in operation, more in tests).
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from relay.backend.bus import Stretches
from relay.backend.settings import HistorySettings
from relay.limits import Clock
from relay.model.envelope import MessageId
from relay.model.events import Message, RoomEvent, TakenOver
from relay.tasks import guarded

_IDLE_ROOMS = 10_000
_SWEEPS = 16
"""How often, within the time to live of the history, all rooms are searched for expired events."""

EventSink = Callable[[Sequence[RoomEvent]], None]


@dataclass(slots=True)
class MemoryEntry:
    """A presence entry; `held` is the end of its hold (0 while connected), the rest as in `PresenceEntry`."""

    generation: int
    lease: str
    current: str
    previous: str
    began: MessageId
    held: float = 0
    info: bytes = b""


@dataclass(slots=True)
class MemoryRoom:
    """The state of one room.

    `repeats` maps a sender and its key to the id under which the message was published, `keyed` is when the last one
    was added. `history` has the events with the times of their publication; `forgotten` is the sequence number of the
    newest message that it has no more, and `changed` that of the newest join, leave or changed info. `large_bytes` is
    the size of the large messages in the history.
    """

    epoch: int
    seq: int = 0
    members: dict[str, MemoryEntry] = field(default_factory=dict)
    repeats: OrderedDict[tuple[str, str], MessageId] = field(default_factory=OrderedDict)
    keyed: float = 0.0
    history: deque[tuple[float, RoomEvent]] = field(default_factory=deque)
    forgotten: int = 0
    changed: int = 0
    large_bytes: int = 0

    @property
    def id(self) -> MessageId:
        """The newest id."""
        return MessageId(self.epoch, self.seq)

    def next_id(self) -> MessageId:
        """Assign the next id."""
        self.seq += 1
        return self.id

    def record(self, event: RoomEvent, now: float, large: int) -> None:
        """Add an event to the history; messages of more than `large` bytes are counted."""
        self.history.append((now, event))
        if isinstance(event, Message):
            if len(event.body) > large:
                self.large_bytes += len(event.body)
        elif not isinstance(event, TakenOver):
            self.changed = event.id.seq

    def forget_oldest(self, large: int) -> None:
        """Drop the oldest event of the history; `large` is as in `record`."""
        _, event = self.history.popleft()
        if isinstance(event, Message):
            self.forgotten = event.id.seq
            if len(event.body) > large:
                self.large_bytes -= len(event.body)


class MemoryRooms:
    """All rooms and their listeners. A listener gets the events of one turn of the loop in one call, in order."""

    def __init__(self, clock: Clock, wall_clock: Clock, history: HistorySettings) -> None:
        self.clock = clock
        self.leases: dict[str, float] = {}
        self.retired: set[str] = set()
        # Delivered positions, by room and peer id.
        self.positions: dict[tuple[str, str], MessageId] = {}
        self._settings = history
        self._large = history.large
        self._wall_clock = wall_clock
        self._rooms: dict[str, MemoryRoom] = {}
        # In the order in which the rooms became idle, the one that has been so for longest first.
        self._idle: OrderedDict[str, None] = OrderedDict()
        self._swept = clock()
        self._listeners: dict[str, dict[EventSink, None]] = {}
        self._outgoing: list[RoomEvent] = []
        self._last_generation = 0

    def room(self, name: str) -> MemoryRoom:
        """Return the room of this name; creates it if there is none."""
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = MemoryRoom(epoch=int(self._wall_clock() * 1000))
            self.mark_idle(name)
        return room

    def peek(self, name: str) -> MemoryRoom | None:
        """Return the room of this name, if there is one."""
        return self._rooms.get(name)

    async def list_rooms(self) -> list[tuple[str, int]]:
        """Return `occupied`: the rooms of this process are all there are."""
        return self.occupied()

    def occupied(self) -> list[tuple[str, int]]:
        """Return the rooms that have members, with their number, sorted by name."""
        return sorted((name, len(room.members)) for name, room in self._rooms.items() if room.members)

    def mark_idle(self, name: str) -> None:
        """Note that a room has no members; the room that has been idle for longest is dropped beyond 10,000 of them."""
        self._idle[name] = None
        self._idle.move_to_end(name)
        if len(self._idle) > _IDLE_ROOMS:
            oldest, _ = self._idle.popitem(last=False)
            # It may have got members since; it is marked again when they have left.
            if not self._rooms[oldest].members:
                del self._rooms[oldest]

    def forget_expired(self) -> None:
        """Drop expired events of all rooms, also of those without new events; frequent calls cost little."""
        if self.clock() >= self._swept + self._settings.ttl / _SWEEPS:
            self._swept = self.clock()
            for room in self._rooms.values():
                self._forget_expired(room)

    def next_generation(self) -> int:
        """Return a generation above all earlier ones, also above those of an earlier process."""
        self._last_generation = max(self._last_generation + 1, int(self._wall_clock() * 1_000_000))
        return self._last_generation

    def remember(self, room: MemoryRoom, sender: str, key: str, message_id: MessageId) -> None:
        """Remember the id that a sender's key was used for; the oldest key goes when there are too many."""
        room.repeats[sender, key] = message_id
        room.repeats.move_to_end((sender, key))
        room.keyed = self.clock()
        if len(room.repeats) > self._settings.repeat_keys:
            room.repeats.popitem(last=False)

    def known(self, room: MemoryRoom, sender: str, key: str) -> MessageId | None:
        """Return the id that a sender's key was used for, if that is remembered."""
        self._forget_expired(room)
        return room.repeats.get((sender, key))

    # Fan-out.

    def listen(self, rooms: Sequence[str], listener: EventSink) -> None:
        """Deliver the events of these rooms to the listener from now on."""
        for name in rooms:
            self._listeners.setdefault(name, {})[listener] = None

    def ignore(self, rooms: Sequence[str], listener: EventSink) -> None:
        """Undo `listen`."""
        for name in rooms:
            listeners = self._listeners.get(name, {})
            listeners.pop(listener, None)
            if not listeners:
                self._listeners.pop(name, None)

    def emit(self, event: RoomEvent) -> None:
        """Add an event to the history, and deliver it to all listeners in the next turn of the loop.

        Never in this turn: a listener may publish in turn, and must not be called while it is being called.
        """
        self._record(self.room(event.room), event)
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing.append(event)

    def since(self, room: str, after: MessageId) -> tuple[MessageId, list[RoomEvent], Stretches]:
        """Return a room's newest id, the events of its history after an id, and where no message was published.

        A room whose newest id is older than `after` has lost its state, and begins a new epoch.
        """
        state = self.room(room)
        if after > state.id:
            state.epoch, state.seq = max(int(self._wall_clock() * 1000), state.epoch + 1, after.epoch + 1), 0
            state.history.clear()
            state.large_bytes = 0
            state.repeats.clear()
            state.forgotten = state.changed = 0
        self._forget_expired(state)
        # After the newest message that is forgotten, the history has every message: the rest of it is one stretch.
        stretches = Stretches([(state.forgotten + 1, state.seq)], state.changed)
        return state.id, [event for _, event in state.history if event.id > after], stretches

    def _record(self, state: MemoryRoom, event: RoomEvent) -> None:
        settings = self._settings
        state.record(event, self.clock(), self._large)
        if len(state.history) > settings.size:
            state.forget_oldest(self._large)
        while state.large_bytes > settings.bytes and len(state.history) > 1:
            state.forget_oldest(self._large)
        self._forget_expired(state)

    def _forget_expired(self, state: MemoryRoom) -> None:
        oldest = self.clock() - self._settings.ttl
        while state.history and state.history[0][0] < oldest:
            state.forget_oldest(self._large)
        if state.keyed < oldest:
            state.repeats.clear()

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        batches: dict[EventSink, list[RoomEvent]] = {}
        for event in outgoing:
            for listener in self._listeners.get(event.room, ()):
                batches.setdefault(listener, []).append(event)
        # Batches are made first: a listener may subscribe or leave while it is called, which does not affect this turn.
        for listener, batch in batches.items():
            guarded(partial(listener, batch), "the delivery of events")
