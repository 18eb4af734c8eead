"""Renewing the time to live that rooms have in Redis."""

from collections import deque
from collections.abc import Callable

from relay.backend.presence import Leases
from relay.metrics import Metrics
from relay.rooms.departures import Departures
from relay.rooms.registry import LocalRooms


class RoomRenewal:
    """Renews a share of the rooms each round, so that no round has thousands of them to renew.

    `rounds` is the number of rounds in a room's time to live, in which it is renewed three times: one may fail.
    `on_lost` is called with a room that has members here, and of which the backend has lost all.
    """

    def __init__(
        self,
        rooms: LocalRooms,
        departures: Departures,
        leases: Leases,
        *,
        rounds: float,
        metrics: Metrics,
        on_lost: Callable[[str], None] = lambda room: None,
    ) -> None:
        self._rooms = rooms
        self._departures = departures
        self._leases = leases
        self._share = 3 / rounds
        self._metrics = metrics
        self._on_lost = on_lost
        self._to_renew: deque[str] = deque()
        self._owed = 0.0

    async def renew(self, idle: list[str]) -> None:
        """One round; `idle` are the rooms that may have lost their last member here."""
        rooms = self._next()
        left = [room for room in idle if not self._rooms.has_members(room) and room not in self._departures]
        if rooms or left:
            lost = await self._leases.touch(rooms, left)
            self._metrics.room_ttl_renewals.inc(len(rooms))
            for room in lost:
                if self._rooms.has_members(room):
                    self._on_lost(room)

    def _next(self) -> list[str]:
        # A room that only has observers is not renewed: they must not keep its state in Redis for ever.
        rooms = list(dict.fromkeys([*self._rooms.occupied(), *self._departures.rooms()]))
        self._owed += len(rooms) * self._share
        if not self._to_renew:
            self._to_renew.extend(rooms)
        count = min(int(self._owed), len(self._to_renew))
        self._owed -= count
        return [self._to_renew.popleft() for _ in range(count)]
