"""Upkeep: the regular work of a worker for its rooms, beside its heartbeat."""

import asyncio
import logging

from relay.limits import Clock
from relay.model.errors import RelayError
from relay.rooms.departures import Departures
from relay.rooms.health import HealthMonitor
from relay.rooms.renewal import RoomRenewal
from relay.rooms.rule_copies import RuleCopies
from relay.rooms.subscriptions import RoomSubscriptions

log = logging.getLogger("relay.rooms.upkeep")


class Upkeep:
    """Settles departures, unsubscribes idle rooms, and renews the rooms' time to live in Redis.

    A loop of its own: thousands of leaves may be due in one round, and must not delay the renewal of the lease. A round
    does not wait for a renewal that takes long, as a part of Redis is away: the next ones go on without it.
    """

    def __init__(
        self,
        departures: Departures,
        subscriptions: RoomSubscriptions,
        renewal: RoomRenewal,
        copies: RuleCopies,
        health: HealthMonitor,
        *,
        interval: float,
        clock: Clock,
    ) -> None:
        self._departures = departures
        self._subscriptions = subscriptions
        self._renewal = renewal
        self._copies = copies
        self._health = health
        self._interval = interval
        self._clock = clock
        self._renewing: asyncio.Task[None] | None = None
        # Rooms that fell idle while a renewal was under way, and the rounds since that began.
        self._left: list[str] = []
        self._rounds = 0

    async def run(self) -> None:
        """Work until cancelled, one round each `interval` seconds."""
        try:
            while True:
                due = self._clock() + self._interval
                await self.work()
                await asyncio.sleep(max(0.0, due - self._clock()))
        finally:
            renewing, self._renewing = self._renewing, None
            if renewing is not None:
                renewing.cancel()
                await asyncio.gather(renewing, return_exceptions=True)

    async def work(self) -> None:
        """One round. A failure is noted, and never raised."""
        try:
            await self._departures.settle_due()
            idle = await self._subscriptions.unsubscribe_idle()
            self._copies.drop(idle)
            if await self._renew(idle):
                self._health.note("upkeep", None)
        except RelayError as error:
            log.debug("upkeep of rooms failed: %s", error)
            self._health.note("upkeep", error)

    async def _renew(self, idle: list[str]) -> bool:
        """Renew some rooms, and give up idle ones; tell whether that has ended, so that Redis has taken all of it."""
        self._left += idle
        self._rounds += 1
        if self._renewing is None:
            left, self._left = self._left, []
            rounds, self._rounds = self._rounds, 0
            self._renewing = asyncio.create_task(self._renewal.renew(left, rounds), name="renewal of rooms")
        if not (await asyncio.wait([self._renewing], timeout=self._interval))[0]:
            return False
        renewed, self._renewing = self._renewing, None
        renewed.result()
        return True
