"""The time in which this process works: a timeout that counts it does not take the worker's lateness for Redis's."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from relay.limits import Clock

TICK: Final = 0.05
"""Seconds between two ticks, by default."""

MOST: Final = 0.25
"""Seconds that one tick counts at most, by default: on a busy machine, each one comes a little late."""

_TICKS: Final = 8
"""Ticks in a limit without a clock, of which there may be thousands at once."""


class AwakeTime:
    """A clock that stands still while the event loop does.

    A process that was stopped, or busy with other work, has not read the answers that wait in its sockets, and what it
    wanted to send may not have left. Timers are due before sockets are read, so a timeout by any other clock ends then,
    and blames Redis. Here, a tick comes every `tick` seconds, and counts `most` seconds at most, however late it comes.

    It ticks from the first `open` to the last `close`: each of its users calls both.
    """

    def __init__(self, clock: Clock = time.monotonic, *, tick: float = TICK, most: float = MOST) -> None:
        self._clock = clock
        self._interval = tick
        self._most = most
        self._users = 0
        self._ticked = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.now = 0.0
        """Seconds, as of the last tick."""

    def read(self) -> float:
        """Return `now`: the clock for parts that call one."""
        return self.now

    def open(self) -> None:
        """Tick, in the running event loop."""
        self._users += 1
        if self._timer is None:
            self._ticked = self._clock()
            self._plan()

    def close(self) -> None:
        """Tick no more, if no other user needs it."""
        self._users -= 1
        if not self._users and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def call_at(self, when: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """Call back at about this time, or sooner if the process stands still: the callback has to look at `now`."""
        return asyncio.get_running_loop().call_later(max(self._interval, when - self.now), callback)

    @asynccontextmanager
    async def limit(self, seconds: float) -> AsyncIterator[None]:
        """Raise TimeoutError when the body has taken so long; for bodies that run while it ticks."""
        end = self.now + seconds
        async with asyncio.timeout(None) as limit:
            timer: asyncio.TimerHandle

            def look() -> None:
                nonlocal timer
                if self.now >= end:
                    limit.reschedule(asyncio.get_running_loop().time())
                else:
                    timer = self.call_at(end, look)

            timer = self.call_at(end, look)
            try:
                yield
            finally:
                timer.cancel()

    def _plan(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._tick)

    def _tick(self) -> None:
        now = self._clock()
        self.now += min(now - self._ticked, self._most)
        self._ticked = now
        self._plan()


@asynccontextmanager
async def awake_limit(seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError when the body has taken so long, as `AwakeTime.limit` does; for callers without a clock."""
    tick = max(TICK, seconds / _TICKS)
    awake = AwakeTime(tick=tick, most=max(MOST, 2 * tick))
    awake.open()
    try:
        async with awake.limit(seconds):
            yield
    finally:
        awake.close()
