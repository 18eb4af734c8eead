"""After Redis has come back as another run: this worker compares its rooms with the data that Redis has now."""

import asyncio
import logging

from relay.backend.bus import Bus
from relay.model.envelope import MessageId
from relay.model.errors import RelayError
from relay.rooms.departures import Departures
from relay.rooms.hub import Hub
from relay.tasks import BackgroundTasks

log = logging.getLogger("relay.rooms.state_check")

_LATER = 0.5
"""Seconds for which rooms that only have held members here are left to workers with connected ones, which know more."""

_RETRY = 0.1
"""Seconds between attempts to compare a room."""

_BATCH = 100
"""Rooms that are compared at the same time."""


class StateCheck:
    """Confirms that the data of this worker's rooms is no older than what it has seen of them.

    A room whose data is older begins a new epoch, and its members are told of a loss. Rooms with listeners are compared
    by gap recovery. In a room of which this worker only holds members, it has seen all that these members have got.
    """

    def __init__(self, hub: Hub, departures: Departures, bus: Bus, tasks: BackgroundTasks) -> None:
        self._hub = hub
        self._departures = departures
        self._bus = bus
        self._tasks = tasks

    def begin(self) -> None:
        """Compare all rooms; called ahead of every other command to the new run of Redis."""
        self._hub.doubt(self._hub.rooms.names())
        self._tasks.spawn(self._compare_held(), "comparison of rooms with held members")

    async def _compare_held(self) -> None:
        await asyncio.sleep(_LATER)
        seen = list(self._departures.newest_seen().items())
        for start in range(0, len(seen), _BATCH):
            await asyncio.gather(*[self._compare(room, newest) for room, newest in seen[start : start + _BATCH]])

    async def _compare(self, room: str, newest: MessageId) -> None:
        while self._hub.rooms.get(room) is None and room in self._departures:
            try:
                await self._bus.replay(room, newest)
            except RelayError as error:
                log.debug("room %s cannot be compared with Redis (%s); retrying", room, error)
                await asyncio.sleep(_RETRY)
            else:
                return
