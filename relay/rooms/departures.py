"""Memberships that end later, or whose end Redis does not know of yet: a heap of them, by the time they are due."""

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count

from msgspec import structs

from relay.backend.presence import HeldMember, Presence, PresenceEntry
from relay.limits import Clock
from relay.logs import LogIntervals
from relay.metrics import Metrics
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.errors import RelayError
from relay.rooms.batches import run_in_batches

log = logging.getLogger("relay.rooms.departures")

_BATCH = 500
"""Departures that are sent to Redis together before the replies are awaited."""

_LOG_INTERVAL = 10.0
"""Seconds between two log lines about defects."""

_PATIENCE = 0.5
"""Seconds that a round waits for the replies to a batch: a part of Redis that is away must not delay all others."""

_RETRY = 0.5
"""Seconds until a departure that Redis did not take is sent again."""

_ABOUT_TO_END = 0.25
"""Seconds: a hold that is shorter than this is not announced."""

_FEW = 64
"""Outdated heap items that are not worth a cleaning."""

_Key = tuple[str, str]


@dataclass(slots=True)
class _Departure:
    """One membership on its way out: it ends at `due`, as soon as possible unless it is `held`.

    With `hold_unsent`, Redis does not know yet that it is held until `due`.
    """

    entry: PresenceEntry
    due: float
    held: bool
    hold_unsent: bool = False
    connected: bool = False
    """Whether the member was connected until now, and no attempt was made yet."""


class Departures:
    """The held and leaving members in this worker's care.

    A departure is in one of three states: it waits in the heap for its next attempt, an attempt is on its way to Redis,
    or it is done and forgotten. An attempt before `due` reports the hold; a later one ends the membership. An attempt
    that failed goes back into the heap. So no round searches: it takes the due departures from the top of the heap.

    While Redis `is_away`, no member can return and no round is made; `prolong` adds that time to the holds.
    `on_settled` is called with the room of each departure that is done.
    """

    def __init__(
        self,
        presence: Presence,
        *,
        grace: float,
        clock: Clock,
        metrics: Metrics,
        on_settled: Callable[[str], None],
        is_away: Callable[[], bool] = lambda: False,
    ) -> None:
        self._presence = presence
        self._grace = grace
        self._is_away = is_away
        self._back_at = float("-inf")
        self._clock = clock
        self._lines = LogIntervals(_LOG_INTERVAL, clock)
        self._metrics = metrics
        self._on_settled = on_settled
        self._by_room: dict[str, dict[_Key, _Departure]] = {}
        self.begun: dict[str, None] = {}
        """The rooms whose first departure has begun since the renewal has taken them from here."""
        self._size = 0
        # (time of the next attempt, number, departure); the number decides between equal times.
        self._heap: list[tuple[float, int, _Departure]] = []
        self._numbers = count()

    def __len__(self) -> int:
        """How many members are held, or on their way out."""
        return self._size

    def __contains__(self, room: str) -> bool:
        """Whether the room has departing members in this worker's care."""
        return room in self._by_room

    def rooms(self) -> Iterator[str]:
        """The rooms that have departing members in this worker's care."""
        return iter(self._by_room)

    def newest_seen(self, room: str) -> MessageId:
        """The newest id that this worker has seen in a room with departing members.

        It is `BEFORE_ALL` if the worker has taken some of them over, as it does not know which events they have seen.
        """
        # A client whose join got no reply has seen nothing.
        departures = self._by_room.get(room, {}).values()
        seen = [departure.entry.seen for departure in departures if departure.entry.generation]
        return max(seen) if seen and min(seen) != BEFORE_ALL else BEFORE_ALL

    def begin(self, entry: PresenceEntry, *, hold: bool) -> asyncio.Future[None]:
        """End a membership: now, or with `hold` after the reconnect grace time.

        The future is done after the first attempt. An attempt that failed is repeated.
        """
        departure = self._add(entry, hold=hold)
        departure.connected = True
        return self._attempt(departure)

    def schedule(self, entry: PresenceEntry, *, hold: bool) -> None:
        """End a membership like `begin`, but first try in the next round: Redis has just failed to answer."""
        self._push(self._add(entry, hold=hold), self._clock())

    def take_over(self, members: Sequence[HeldMember]) -> int:
        """Add members of a dead worker: a membership ends when its hold does. Returns how many were not known yet."""
        added = 0
        for member in members:
            known = self._by_room.get(member.room, {}).get((member.peer, ""))
            if known is None or known.entry.generation < member.generation:
                # Whether the dead worker tracked the member is not known.
                entry = PresenceEntry(member.room, member.peer, member.generation, tracked=True, reason="lost")
                now = self._clock()
                due = max(now + member.seconds, self._back_at + self._grace)
                departure = _Departure(entry, due, held=True, hold_unsent=due > now + member.seconds)
                self._remember(departure)
                self._push(departure, now if departure.hold_unsent else due)
                added += 1
        self._metrics.adopted.inc(added)
        return added

    def prolong(self, since: float) -> None:
        """Add to each hold the time for which Redis was away, from `since` until now, or its part since the hold began.

        Members of dead workers that are taken over later are held for the whole grace time from now.
        """
        now = self._back_at = self._clock()
        departures = [departure for room in self._by_room.values() for departure in room.values()]
        for departure in departures:
            if departure.held and departure.due > since:
                due = departure.due + now - max(since, departure.due - self._grace)
                # A new object, so that the attempts of the old one change nothing.
                prolonged = replace(departure, due=due, hold_unsent=True)
                self._remember(prolonged)
                self._push(prolonged, now)

    async def announce(self, between: Callable[[], Awaitable[None]]) -> None:
        """Record this worker's held members anew, after Redis may have lost them; `between` as in `Announcer`.

        A hold that is about to end is left to its end, so that no leave is published twice. Members of dead workers are
        left out, as their keys are not known here.
        """
        departures = [departure for room in self._by_room.values() for departure in room.values()]
        batches = (departures[start : start + _BATCH] for start in range(0, len(departures), _BATCH))
        await run_in_batches(map(self._announce, batches), between)

    async def _announce(self, batch: Sequence[_Departure]) -> None:
        now = self._clock()
        # `Presence.announce` sends before it waits: an end of the hold that is sent later follows it.
        entries = [
            structs.replace(departure.entry, hold=departure.due - now)
            for departure in batch
            if departure.entry.began != BEFORE_ALL
            and departure.due - now > _ABOUT_TO_END
            and self._is_current(departure)
        ]
        if entries:
            await self._presence.announce(entries)

    async def settle_due(self) -> None:
        """One round: attempt all due departures, in batches, so that thousands of them do not flood the connection.

        The rest of them waits if Redis goes away meanwhile.
        """
        # The time of the round's beginning: while Redis refuses, an attempt that failed may be due again before the
        # last one is made, and the round would never end.
        now = self._clock()
        while not self._is_away() and (batch := self._pop_due(now)):
            # The replies that come later have the same effects.
            await asyncio.wait(list(map(self._attempt, batch)), timeout=_PATIENCE)
        self._metrics.held.set(self._size)

    def _add(self, entry: PresenceEntry, *, hold: bool) -> _Departure:
        if hold:
            entry = structs.replace(entry, reason="lost")
        hold = hold and self._grace > 0
        departure = _Departure(entry, self._clock() + (self._grace if hold else 0), hold, hold_unsent=hold)
        self._remember(departure)
        return departure

    def _remember(self, departure: _Departure) -> None:
        name, key = departure.entry.room, _key(departure.entry)
        room = self._by_room.get(name)
        if room is None:
            room = self._by_room[name] = {}
            self.begun[name] = None
        self._size += key not in room
        room[key] = departure

    def _forget(self, departure: _Departure) -> None:
        room = self._by_room[departure.entry.room]
        del room[_key(departure.entry)]
        self._size -= 1
        if not room:
            del self._by_room[departure.entry.room]
            self.begun.pop(departure.entry.room, None)

    def _is_current(self, departure: _Departure) -> bool:
        """Whether no later departure of the same peer has replaced this one."""
        return self._by_room.get(departure.entry.room, {}).get(_key(departure.entry)) is departure

    def _push(self, departure: _Departure, when: float) -> None:
        heapq.heappush(self._heap, (when, next(self._numbers), departure))
        if len(self._heap) > 2 * self._size + _FEW:
            # A client that is lost again and again leaves an outdated item each time.
            self._heap = [item for item in self._heap if self._is_current(item[2])]
            heapq.heapify(self._heap)

    def _pop_due(self, now: float) -> list[_Departure]:
        batch: list[_Departure] = []
        while self._heap and self._heap[0][0] <= now and len(batch) < _BATCH:
            departure = heapq.heappop(self._heap)[2]
            if self._is_current(departure):
                batch.append(departure)
        return batch

    def _attempt(self, departure: _Departure) -> asyncio.Future[None]:
        hold = max(0.0, departure.due - self._clock()) if departure.hold_unsent else 0.0
        attempted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Not when an attempt is repeated: the one before may have succeeded without a reply.
        entry = structs.replace(departure.entry, connected=True) if departure.connected else departure.entry
        departure.connected = False
        # The request is sent when `leave` returns. Later requests, such as a join of the same peer, follow it.
        reply = asyncio.ensure_future(self._presence.leave(entry, hold=hold))
        reply.add_done_callback(partial(self._attempted, departure, hold > 0, attempted))
        return attempted

    def _attempted(
        self, departure: _Departure, held: bool, attempted: asyncio.Future[None], reply: asyncio.Future[bool]
    ) -> None:
        # Cancelled if the backend closes meanwhile.
        error = asyncio.CancelledError() if reply.cancelled() else reply.exception()
        if self._is_current(departure):
            if error is not None:
                self._log_failure(departure, error)
                self._push(departure, self._clock() + _RETRY)
            elif held and reply.result():
                departure.hold_unsent = False
                self._push(departure, departure.due)
            else:
                # Ended; or the entry is not this worker's any more: the peer came back, or another worker has it.
                self._forget(departure)
                self._on_settled(departure.entry.room)
        if not attempted.done():
            attempted.set_result(None)

    def _log_failure(self, departure: _Departure, error: BaseException) -> None:
        room, peer = departure.entry.room, departure.entry.peer
        if isinstance(error, RelayError | asyncio.CancelledError):
            log.debug("leaving %s as %s failed (%s); retrying", room, peer, error)
        elif self._lines.due() is not None:
            # A defect, which thousands of departures may meet at once.
            log.error("leaving %s as %s failed; retrying; please report it", room, peer, exc_info=error)


def _key(entry: PresenceEntry) -> _Key:
    """The key of a departure among those of its room.

    While the generation is unknown (0), the join it belongs to may never have reached Redis. It must not replace the
    departure of an entry that exists, so it is known by its stamp or its resume key's fingerprint as well.
    """
    return entry.peer, "" if entry.generation else entry.stamp or entry.current
