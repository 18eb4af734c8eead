"""The rooms of a process without Redis: the state that the memory bus, presence and leases share.

It follows the Lua scripts step by step, for any number of workers in one event loop (one in operation, more in tests).
"""

import asyncio
import heapq
import math
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from relay.backend.bus import Stretches
from relay.backend.headroom import Headroom, Level
from relay.backend.memory.webhooks import MemoryWebhookQueue
from relay.backend.rules import StoredRules
from relay.backend.settings import HistorySettings
from relay.limits import Clock
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.events import MemberChanged, Message, Moved, RoomEvent, RulesChanged, TakenOver
from relay.model.room_list import FIRST_ROOMS, RoomPage, RoomQuery
from relay.model.tree_changes import Prepared
from relay.tasks import guarded

_IDLE_ROOMS = 10_000
_EVENT_BYTES = 512
"""Bytes that an event of a history takes, without its body or info."""

_SWEEPS = 16
"""How often, within the time to live of the history, all rooms are searched for expired events."""

EventSink = Callable[[Sequence[RoomEvent]], None]


@dataclass(slots=True)
class MemoryEntry:
    """A presence entry; `held` is the end of its hold (0 while connected), the rest as in `PresenceEntry`.

    An entry does not change its address: another one replaces it.
    """

    generation: int
    lease: str
    current: str
    previous: str
    began: MessageId
    held: float = 0
    info: bytes = b""
    address: str = ""
    subject: str = ""


@dataclass(slots=True)
class MemoryRoom:
    """The state of one room.

    `repeats` maps a sender and its key to the id under which the message was published, `keyed` is when the last one
    was added. `history` has the events with the times of their publication; `forgotten` is the sequence number of the
    newest message that it has no more, and `changed` that of the newest join, leave or changed info. `large_bytes` is
    the size of the large messages in the history. `places` counts the members of each address; `put` and `remove` keep
    it right.
    """

    epoch: int
    seq: int = 0
    members: dict[str, MemoryEntry] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
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

    def put(self, peer: str, entry: MemoryEntry) -> None:
        """Add a member, or replace its entry."""
        before = self.members.get(peer)
        self.members[peer] = entry
        if before is not None:
            self._give_up_place(before.address)
        if entry.address:
            self.places[entry.address] = self.places.get(entry.address, 0) + 1

    def remove(self, peer: str) -> None:
        """Remove a member."""
        self._give_up_place(self.members.pop(peer).address)

    def _give_up_place(self, address: str) -> None:
        if self.places.get(address, 0) > 1:
            self.places[address] -= 1
        else:
            self.places.pop(address, None)

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
        else:
            self._note_change(event)

    def pass_over(self, event: RoomEvent) -> None:
        """Note an event that the history does not get."""
        if isinstance(event, Message):
            self.forgotten = event.id.seq
        else:
            self._note_change(event)

    def forget_oldest(self, large: int) -> None:
        """Drop the oldest event of the history; `large` is as in `record`."""
        _, event = self.history.popleft()
        if isinstance(event, Message):
            self.forgotten = event.id.seq
            if len(event.body) > large:
                self.large_bytes -= len(event.body)

    def _note_change(self, event: RoomEvent) -> None:
        if not isinstance(event, TakenOver | RulesChanged | Moved):
            self.changed = event.id.seq


class MemoryRooms:
    """All rooms and their listeners; their histories have at most `limit` bytes.

    A listener gets the events of one turn of the loop in one call, in order.
    """

    def __init__(
        self,
        clock: Clock,
        wall_clock: Clock,
        history: HistorySettings,
        headroom: Headroom | None = None,
        *,
        limit: int = sys.maxsize,
    ) -> None:
        self.clock = clock
        self.headroom = headroom or Headroom()
        self._limit = limit
        self._stored = 0
        self.leases: dict[str, float] = {}
        self.retired: set[str] = set()
        # Delivered positions, by room and peer id.
        self.positions: dict[tuple[str, str], MessageId] = {}
        # Changes that members have prepared for the end of their connections, by room and peer id.
        self.prepared: dict[tuple[str, str], Prepared] = {}
        # The rules of rooms, and of those without members when they are forgotten.
        self.webhook: MemoryWebhookQueue | None = None
        self.rules: dict[str, StoredRules] = {}
        self.rule_ends: dict[str, float] = {}
        self._settings = history
        self._large = history.large
        self._wall_clock = wall_clock
        self._rooms: dict[str, MemoryRoom] = {}
        # In the order in which the rooms became idle, the one that has been so for longest first.
        self._idle: OrderedDict[str, float] = OrderedDict()
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

    async def list_rooms(self, query: RoomQuery = FIRST_ROOMS) -> RoomPage:
        """Return a page of the rooms of this process, which are all there are: O(rooms)."""
        names = [name for name, room in self._rooms.items() if room.members and name.startswith(query.prefix)]
        page = heapq.nsmallest(query.limit + 1, [name for name in names if name > query.after])
        listed = [(name, len(self._rooms[name].members)) for name in page[: query.limit]]
        return RoomPage(listed, listed[-1][0] if len(page) > query.limit else "", len(names))

    def occupied(self) -> list[tuple[str, int]]:
        """Return the rooms that have members, with their number, sorted by name."""
        return sorted((name, len(room.members)) for name, room in self._rooms.items() if room.members)

    def mark_idle(self, name: str) -> None:
        """Note that a room has no members; the room that has been idle for longest is dropped beyond 10,000 of them."""
        self._idle[name] = self.clock()
        self._idle.move_to_end(name)
        if len(self._idle) > _IDLE_ROOMS:
            self._drop_longest_idle()

    def forget_expired(self) -> None:
        """Drop expired events of all rooms, and rooms that have been idle for long; frequent calls cost little."""
        now = self.clock()
        if now >= self._swept + self._settings.ttl / _SWEEPS:
            self._swept = now
            self._forget_idle(now)
            for name in [name for name, ends in self.rule_ends.items() if ends <= now]:
                self.rules_of(name)
            for room in self._rooms.values():
                self._forget_expired(room)
        self.headroom.report(self._stored, self._limit)

    def rules_of(self, name: str) -> StoredRules | None:
        """Return the rules of a room, unless they have outlived it for long enough."""
        if self.rules and self.rule_ends.get(name, math.inf) <= self.clock():
            del self.rules[name], self.rule_ends[name]
        return self.rules.get(name)

    def keeps_history(self, name: str) -> bool:
        """Whether the rules of a room allow a history."""
        rules = self.rules.get(name)
        return rules is None or rules.history

    def now_us(self) -> int:
        """Return the time of this machine (us)."""
        return int(self._wall_clock() * 1_000_000)

    def stores(self, size: int) -> bool:
        """Whether a message of so many bytes goes into the history, by the level of the memory."""
        level = self.headroom.level
        return level is Level.AMPLE or (level is Level.LOW and size <= self._large)

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

    def known(self, room: MemoryRoom, sender: str, key: str, began: MessageId = BEFORE_ALL) -> MessageId | None:
        """Return the id that a sender's key was used for, if that is remembered.

        A message from before the sender's membership `began` was of an earlier holder of its peer id.
        """
        self._forget_expired(room)
        found = room.repeats.get((sender, key))
        return found if found and found > began else None

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

    def emit(self, event: RoomEvent, *, stored: bool = True) -> None:
        """Add an event to the history if it is `stored`, and deliver it to all listeners in the next turn of the loop.

        Never in this turn: a listener may publish in turn, and must not be called while it is being called.
        """
        state = self.room(event.room)
        if self.rules and not self.keeps_history(event.room):
            stored = False
        if stored and self._stored + _size(event) <= self._limit:
            self._record(state, event)
        else:
            state.pass_over(event)
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
            while state.history:
                self._forget_oldest(state)
            state.repeats.clear()
            state.forgotten = state.changed = 0
        self._forget_expired(state)
        # After the newest message that is forgotten, the history has every message: the rest of it is one stretch.
        stretches = Stretches([(state.forgotten + 1, state.seq)], state.changed)
        return state.id, [event for _, event in state.history if event.id > after], stretches

    def _forget_idle(self, now: float) -> None:
        """Drop rooms without members after the time to live of the history, and their histories sooner."""
        while self._idle and next(iter(self._idle.values())) < now - self._settings.ttl:
            self._drop_longest_idle()
        for name, since in self._idle.items():
            if since > now - self._settings.last_ttl:
                break
            room = self._rooms[name]
            while room.history and not room.members:
                self._forget_oldest(room)

    def _drop_longest_idle(self) -> None:
        name, _ = self._idle.popitem(last=False)
        # It may have got members since; it is marked again when they have left.
        room = self._rooms[name]
        if not room.members:
            while room.history:
                self._forget_oldest(room)
            del self._rooms[name]

    def _forget_oldest(self, state: MemoryRoom) -> None:
        self._stored -= _size(state.history[0][1])
        state.forget_oldest(self._large)

    def _record(self, state: MemoryRoom, event: RoomEvent) -> None:
        settings = self._settings
        state.record(event, self.clock(), self._large)
        self._stored += _size(event)
        if len(state.history) > settings.size:
            self._forget_oldest(state)
        while state.large_bytes > settings.bytes and len(state.history) > 1:
            self._forget_oldest(state)
        self._forget_expired(state)

    def _forget_expired(self, state: MemoryRoom) -> None:
        oldest = self.clock() - self._settings.ttl
        while state.history and state.history[0][0] < oldest:
            self._forget_oldest(state)
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


def _size(event: RoomEvent) -> int:
    """Return the bytes that an event of the history takes."""
    more = len(event.body) if isinstance(event, Message) else len(event.info) if isinstance(event, MemberChanged) else 0
    return _EVENT_BYTES + more
