"""The clock of Redis, as far as a worker knows it."""

import time

from relay.backend.stamps import Stamp
from relay.limits import Clock

_DRIFT = 0.0005
"""Part by which the clocks of two machines may run at different speeds."""


class RedisClock:
    """Estimates the clock of Redis, and by it the time at which a worker stops waiting for a command.

    Scripts that make a member compare that time with Redis's own: a command that a stopped process or a stalled network
    has delayed beyond it must not take effect. Clocks of different machines differ, so the difference is learned from
    replies that have Redis's time in them. The estimate is never ahead of Redis's clock, however late a worker reads
    the replies, and as close to it as the best recent one allows.
    """

    def __init__(self, clock: Clock, timeout: float) -> None:
        self._clock = clock
        self._timeout = timeout
        # The least difference between the two clocks that is possible (ms), and when it was found.
        self._offset: float | None = None
        self._learned = 0.0
        # The bounds of the difference between the two clocks (microseconds), and when they were found.
        self._bounds: tuple[float, float] | None = None
        self._bounded = 0.0

    @property
    def time(self) -> float:
        """Seconds on the worker's own clock, which `learn` refers to."""
        return self._clock()

    def learn(self, now: int, asked: float) -> None:
        """Note that Redis's clock was at `now` (ms), in reply to a command sent at `asked` on the worker's clock.

        A late reply says little, and is not taken for a better one. It shows all the same that a clock was set, or that
        another Redis has taken the part of this one.
        """
        answered = self._clock()
        low, high = now - answered * 1000, now + 1 - asked * 1000
        known = self._least(answered)
        if known is None or not low <= known <= high:
            self._offset, self._learned = low, answered

    @property
    def now(self) -> int:
        """The time by Redis's clock (ms), as far as is known; by this machine's until the first reply."""
        now = self._clock()
        least = self._least(now)
        return round(time.time() * 1000 if least is None else least + now * 1000)

    @property
    def deadline(self) -> int:
        """When the worker stops waiting for a command sent now, by Redis's clock (ms); 0 if that clock is not known.

        A worker that stands still waits longer.
        """
        return self.in_future(self._timeout)

    def in_future(self, seconds: float) -> int:
        """Return the time in so many seconds by Redis's clock (ms); 0 if that clock is not known."""
        now = self._clock()
        least = self._least(now)
        return 0 if least is None else round(least + (now + seconds) * 1000)

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
        now = self._clock()
        least, of_other = self._least(now), other._least(now)
        return 0 if self is other or least is None or of_other is None else round(least - of_other)

    def _least(self, now: float) -> float | None:
        """Return the least difference to Redis's clock at this time on the worker's (ms); None if nothing is known."""
        return None if self._offset is None else self._offset - _DRIFT * (now - self._learned) * 1000

    def _widened(self, now: float) -> tuple[float, float] | None:
        if self._bounds is None:
            return None
        drift = _DRIFT * (now - self._bounded) * 1e6
        return self._bounds[0] - drift, self._bounds[1] + drift
