"""Delays before the next attempt to connect or to send."""

import random
from collections.abc import Callable

_SOON = 0.5


class Backoff:
    """Exponential backoff with full jitter: a random delay below a bound, which doubles from `base` up to `cap`.

    All times are in seconds. `draw` returns a random number from 0 to 1.
    """

    def __init__(self, *, base: float = 0.25, cap: float = 10.0, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._base = base
        self._cap = cap
        self._bound = base

    def next(self, *, at_least: float = 0.0) -> float:
        """Return the delay after a failure; `at_least` is a delay that the relay asked for (Retry-After)."""
        bound, self._bound = self._bound, min(self._cap, self._bound * 2)
        return at_least + self._draw() * bound

    def soon(self) -> float:
        """Return a short delay, for a client that the relay sent to another worker; it keeps clients apart."""
        return self._draw() * _SOON

    def reset(self) -> None:
        """Begin again at `base`, after a success."""
        self._bound = self._base
