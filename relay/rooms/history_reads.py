"""Reading the histories of rooms for members that come back."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from relay.address_rates import AddressRates
from relay.backend.bus import Bus
from relay.limits import Clock
from relay.metrics import Metrics
from relay.model.envelope import MessageId
from relay.model.events import Replay

_AT_ONCE: Final = 16
"""Histories that are read at the same time, as each may have megabytes; other members that come back wait."""

_BURST: Final = 5
"""Seconds whose events may be read at once: a worker that stops has all clients of a school come back together."""


class HistoryReads:
    """Reads at most `rate` events a second for the members of one address, and a few histories at the same time.

    A member of an address that has used up its rate waits before it is read for, and does not take the place of a
    member of another one. Members without an address are not counted.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        rate: float,
        clock: Clock,
        metrics: Metrics,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._bus = bus
        self._rates = AddressRates(rate, _BURST * rate, clock)
        self._metrics = metrics
        self._sleep = sleep
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def read(self, room: str, since: MessageId, address: str) -> Replay:
        """Return the result of `Bus.replay`, once it is the turn of this address."""
        if not address:
            async with self._places:
                return await self._bus.replay(room, since)
        bucket = self._rates.of(address)
        if not bucket.take():
            self._metrics.replay_waits.inc()
            await self._sleep(bucket.wait)
            while not bucket.take():
                await self._sleep(bucket.wait)
        async with self._places:
            replay = await self._bus.replay(room, since)
        bucket.debit(len(replay.events))
        return replay
