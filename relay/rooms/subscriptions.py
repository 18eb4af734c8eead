"""Subscriptions: which rooms' events this worker receives, from before a room's first listener until after its last."""

import asyncio

from relay.backend.bus import Bus
from relay.rooms.member import Listener, Member
from relay.rooms.registry import LocalRooms
from relay.rooms.watches import Watches

_LOCKS = 256
"""Rooms share so many locks, by hash: a lock of its own for each room would have to be counted and forgotten."""


class RoomSubscriptions:
    """Subscribes before the first join of a room, and unsubscribes after the last leave. Observers count, too.

    The two can race: a member may join a room while the worker unsubscribes it. So an unsubscription takes the room's
    lock, and then looks for listeners. A join takes the lock as well, unless the room is subscribed and nobody has the
    lock: then it stages its member in the same step, without a wait. Under the lock, a join stages its member before it
    subscribes. An unsubscription that begins afterwards finds the member and does nothing. A join that gets the lock
    second finds the room unsubscribed and subscribes anew.

    Leaving takes no lock. It only notes that the room fell idle, and the next round of upkeep unsubscribes: most rooms
    that empty fill again soon, when their only member reconnects.
    """

    def __init__(self, rooms: LocalRooms, bus: Bus, watches: Watches) -> None:
        self._rooms = rooms
        self._bus = bus
        self._watches = watches
        self._locks = [asyncio.Lock() for _ in range(_LOCKS)]
        self._subscribed: set[str] = set()
        self._idle: dict[str, None] = {}

    async def stage(self, listener: Listener) -> None:
        """Stage a member or observer that waits for its welcome; once this returns, every event of its room reaches it.

        Raises `Unavailable`; the listener is staged all the same, until it is removed.
        """
        lock = self._lock(listener.room)
        if listener.room in self._subscribed and not lock.locked():
            # Nobody unsubscribes the room at this moment, and whoever begins to finds the listener.
            self._stage(listener)
            return
        async with lock:
            self._stage(listener)
            if listener.room not in self._subscribed:
                await self._bus.subscribe([listener.room])
                self._subscribed.add(listener.room)
                # A watcher that joins on another worker from now on is noticed by its join. Of those before, a member's
                # own join tells.
                if not isinstance(listener, Member):
                    self._watches.look(listener.room)

    def _stage(self, listener: Listener) -> None:
        self._rooms.stage(listener)
        self._watches.begin(listener)

    def note_idle(self, room: str) -> None:
        """A listener left, or is no longer held: if the room has no members here, look at it in the next round."""
        if not self._rooms.has_members(room):
            self._idle[room] = None

    async def unsubscribe_idle(self) -> list[str]:
        """Unsubscribe the rooms that fell idle and still are; returns those that lost a last listener or member."""
        idle = list(self._idle)
        for room in idle:
            lock = self._lock(room)
            if lock.locked():
                # A join holds this lock, and may wait for Redis. This loop must not: it tries again in the next round.
                continue
            del self._idle[room]
            async with lock:
                if self._rooms.get(room) is None and room in self._subscribed:
                    self._subscribed.remove(room)
                    await self._bus.unsubscribe([room])
        return idle

    def _lock(self, room: str) -> asyncio.Lock:
        return self._locks[hash(room) % _LOCKS]
