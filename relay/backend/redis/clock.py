"""The clock of Redis, as far as a worker knows it."""

import time

from relay.backend.stamps import Stamp
from relay.limits import Clock

_PROMPT = 1.0
"""Seconds within which a reply must come for the time in it to be trusted."""

_DRIFT = 0.0005
"""Part by which the clocks of two machines may run at different speeds."""


class RedisClock:
    """Estimates the clock of Redis, and by it the time at which a worker stops waiting for a command.

    Scripts that make a member compare that time with Redis's own: a command that a stopped process or a stalled network
    has delayed beyond it must not take effect. Clocks of different machines differ, so the difference is learned from
    replies that have Redis's time in them.
    """

    def __init__(self, clock: Clock, timeout: float) -> None:
        self._clock = clock
        self._timeout = timeout
        self._offset: float | None = None
        # The bounds of the difference between the two clocks (microseconds), and when they were found.
        self._bounds: tuple[float, float] | None = None
        self._bounded = 0.0

    @property
    def time(self) -> float:
        """Seconds on the worker's own clock, which `learn` refers to."""
        return self._clock()

    def learn(self, now: int, asked: float) -> None:
        """Note that Redis's clock was at `now` (ms), in reply to a command sent at `asked` on the worker's clock."""
        answered = self._clock()
        # A late reply says little about the time, but is better than nothing.
        if self._offset is None or answered - asked < _PROMPT:
            self._offset = now - answered * 1000

    @property
    def now(self) -> int:
        """The time by Redis's clock (ms), as far as is known; by this machine's until the first reply."""
        return round(time.time() * 1000 if self._offset is None else self._offset + self._clock() * 1000)

    @property
    def deadline(self) -> int:
        """When the worker stops waiting for a command sent now, by Redis's clock (ms); 0 if that clock is not known.

        A worker that stands still waits longer.
        """
        return self.in_future(self._timeout)

    def in_future(self, seconds: float) -> int:
        """Return the time in so many seconds by Redis's clock (ms); 0 if that clock is not known."""
        return 0 if self._offset is None else round(self._offset + (self._clock() + seconds) * 1000)

    def bound(self, now: int, asked: float) -> None:
        """Note that Redis's clock was at `now` (microseconds) between `asked` and this moment on the worker's clock.

        The narrowest of the recent bounds is used. Bounds that do not overlap show that one clock was set.
        """
        answered = self._clock()
        low, high = now - answered * 1e6, now + 1 - asked * 1e6
        known = self._widened(answered)
        if known is None or high < known[0] or low > known[1] or high - low < known[1] - known[0]:
            self._bounds, self._bounded = (low, high), answered

    def stamp(self, arrived: float) -> Stamp | None:
        """Return the stamp of a request that arrived at this time on the worker's clock; None if nothing is known."""
        bounds = self._widened(self._clock())
        if bounds is None:
            return None
        earliest = max(0, round(bounds[0] + arrived * 1e6))
        return Stamp(earliest, max(earliest, round(bounds[1] + arrived * 1e6)))

    def ahead_of(self, other: "RedisClock") -> int:
        """Return by how much this clock is ahead of another (ms), as far as is known."""
        if self is other or self._offset is None or other._offset is None:
            return 0
        return round(self._offset - other._offset)

    def _widened(self, now: float) -> tuple[float, float] | None:
        if self._bounds is None:
            return None
        drift = _DRIFT * (now - self._bounded) * 1e6
        return self._bounds[0] - drift, self._bounds[1] + drift
