"""The clock of Redis, as far as a worker knows it."""

import time

from relay.limits import Clock

_PROMPT = 1.0
"""Seconds within which a reply must come for the time in it to be trusted."""


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
        """When the worker stops waiting for a command sent now, by Redis's clock (ms); 0 if that clock is not known."""
        return 0 if self._offset is None else round(self._offset + (self._clock() + self._timeout) * 1000)
