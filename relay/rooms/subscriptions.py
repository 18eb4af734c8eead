"""Subscriptions: which rooms' events this worker receives, from before a room's first listener until after its last."""

import asyncio
from typing import Final

from relay.awake import awake_limit
from relay.backend.bus import Bus
from relay.limits import Clock
from relay.model.errors import Unavailable
from relay.rooms.member import Listener, Member
from relay.rooms.registry import LocalRooms
from relay.rooms.watches import Watches

_LEAST: Final = 0.05
"""Seconds that a join must have left to wait for Redis itself, after it has waited for another join."""


class _Change:
    """The lock of a room while it is subscribed or unsubscribed; so many `users` have it, or wait for it."""

    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class RoomSubscriptions:
    """Subscribes before the first join of a room, and unsubscribes after the last leave. Observers count, too.

    The two can race: a member may join a room while the worker unsubscribes it. So an unsubscription takes the room's
    lock, and then looks for listeners. A join takes the lock as well, unless the room is subscribed and nobody has the
    lock: then it stages its member in the same step, without a wait. Under the lock, a join stages its member before it
    subscribes. An unsubscription that begins afterwards finds the member and does nothing. A join that gets the lock
    second finds the room unsubscribed and subscribes anew.

    Each room has a lock of its own, and only while somebody uses it: the Redis that has this room may be away while
    others answer. The joins of one room wait for the first of them. If Redis does not confirm that subscription, the
    next join tries, for the rest of its own time: no join waits longer than `timeout` seconds.

    Leaving takes no lock. It only notes that the room fell idle, and the next round of upkeep unsubscribes: most rooms
    that empty fill again soon, when their only member reconnects.
    """

    def __init__(self, rooms: LocalRooms, bus: Bus, watches: Watches, *, timeout: float, clock: Clock) -> None:
        self._rooms = rooms
        self._bus = bus
        self._watches = watches
        self._timeout = timeout
        self._clock = clock
        self._changes: dict[str, _Change] = {}
        self._subscribed: set[str] = set()
        self._idle: dict[str, None] = {}

    async def stage(self, listener: Listener) -> None:
        """Stage a member or observer that waits for its welcome; once this returns, every event of its room reaches it.

        Raises `Unavailable`; the listener is staged all the same, until it is removed.
        """
        room = listener.room
        change = self._changes.get(room)
        if change is None:
            if room in self._subscribed:
                # Nobody unsubscribes the room at this moment, and whoever begins to finds the listener.
                self._stage(listener)
                return
            change = self._changes[room] = _Change()
        # When it began to wait for another join; None if it does not.
        began = self._clock() if change.users else None
        change.users += 1
        try:
            async with change.lock:
                self._stage(listener)
                if room not in self._subscribed:
                    if began is None:
                        await self._bus.subscribe([room])
                    else:
                        await self._subscribe_within(room, self._timeout - (self._clock() - began))
                    self._subscribed.add(room)
                    # A watcher that joins on another worker from now on is noticed by its join. Of those before, a
                    # member's own join tells.
                    if not isinstance(listener, Member):
                        self._watches.look(room)
        finally:
            self._end(room, change)

    async def _subscribe_within(self, room: str, seconds: float) -> None:
        """Subscribe for a join that has waited for another one, and has so many seconds left."""
        late = Unavailable(f"Redis did not confirm a subscription within {self._timeout:g} s")
        if seconds < _LEAST:
            raise late
        try:
            async with awake_limit(seconds):
                await self._bus.subscribe([room])
        except TimeoutError:
            raise late from None

    def _stage(self, listener: Listener) -> None:
        self._rooms.stage(listener)
        self._watches.begin(listener)

    def _end(self, room: str, change: _Change) -> None:
        change.users -= 1
        if not change.users:
            del self._changes[room]

    def note_idle(self, room: str) -> None:
        """A listener left, or is no longer held: if the room has no members here, look at it in the next round."""
        if not self._rooms.has_members(room):
            self._idle[room] = None

    async def unsubscribe_idle(self) -> list[str]:
        """Unsubscribe the rooms that fell idle and still are; returns those that lost a last listener or member."""
        idle = list(self._idle)
        for room in idle:
            if room in self._changes:
                # A join has the lock, and may wait for Redis. This loop must not: it tries again in the next round.
                continue
            del self._idle[room]
            if self._rooms.get(room) is None and room in self._subscribed:
                await self._unsubscribe(room)
        return idle

    async def _unsubscribe(self, room: str) -> None:
        change = self._changes[room] = _Change()
        change.users += 1
        try:
            async with change.lock:
                self._subscribed.remove(room)
                await self._bus.unsubscribe([room])
        finally:
            self._end(room, change)
