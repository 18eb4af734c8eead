"""After Redis has come back as another run: this worker compares its rooms with the data that Redis has now."""

import asyncio
import logging

from relay.backend.bus import Bus
from relay.backend.presence import HasLivingWorkers
from relay.model.envelope import BEFORE_ALL
from relay.model.errors import RelayError
from relay.rooms.departures import Departures
from relay.rooms.hub import Hub
from relay.tasks import BackgroundTasks

log = logging.getLogger("relay.rooms.state_check")

_LATER = 0.5
"""Seconds in which workers with connected members of a room confirm it first, as they have seen more of it."""

_RETRY, _ATTEMPTS = 0.2, 50
"""Seconds between attempts to compare a room, and how many there are: workers renew their leases within a second."""

_CONCURRENT = 100
"""Rooms that are compared at the same time."""


class StateCheck:
    """Confirms this worker's rooms: that Redis has all events that the worker has seen in them.

    A room whose data is older begins a new epoch, and its members are told of a loss. Rooms with listeners are compared
    by gap recovery. In a room where this worker only holds members, it has seen all events that these members have got,
    but not all that others have: so it confirms the room only if all workers with members there are alive, and do the
    same.
    """

    def __init__(
        self, hub: Hub, departures: Departures, bus: Bus, has_living_workers: HasLivingWorkers, tasks: BackgroundTasks
    ) -> None:
        self._hub = hub
        self._departures = departures
        self._bus = bus
        self._has_living_workers = has_living_workers
        self._tasks = tasks
        self._slots = asyncio.Semaphore(_CONCURRENT)

    def begin(self) -> None:
        """Compare all rooms; called ahead of every other command to the new run of Redis."""
        self._hub.doubt(self._hub.rooms.names())
        self._tasks.spawn(self._compare_held(), "comparison of rooms with held members")

    async def _compare_held(self) -> None:
        await asyncio.sleep(_LATER)
        await asyncio.gather(*map(self._compare, list(self._departures.rooms())))

    async def _compare(self, room: str) -> None:
        # If all attempts fail, the room begins a new epoch at the next join: a needless report is better than none.
        for _ in range(_ATTEMPTS):
            # While this waits, the worker may get members in the room, or take over members of it. Clients that are
            # joining do not count: they wait for this comparison.
            newest = self._departures.newest_seen(room)
            if self._hub.rooms.first_member(room) is not None or newest == BEFORE_ALL:
                return
            try:
                async with self._slots:
                    if await self._has_living_workers(room) and newest == self._departures.newest_seen(room):
                        await self._bus.replay(room, newest)
                        return
            except RelayError as error:
                log.debug("room %s cannot be compared with Redis (%s); retrying", room, error)
            await asyncio.sleep(_RETRY)
