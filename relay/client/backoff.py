"""How long to wait before coming back."""

import random
from collections.abc import Callable

_SOON = 0.5


class Backoff:
    """Full jitter: somewhere between nothing and a bound that doubles with every failure, from `base` to `cap`."""

    def __init__(self, *, base: float = 0.25, cap: float = 10.0, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._base = base
        self._cap = cap
        self._bound = base

    def next(self, *, at_least: float = 0.0) -> float:
        """Seconds to wait after a failure; the relay may have asked for more (Retry-After)."""
        bound, self._bound = self._bound, min(self._cap, self._bound * 2)
        return at_least + self._draw() * bound

    def soon(self) -> float:
        """Seconds to wait after having been sent elsewhere: just long enough for not all to come at once."""
        return self._draw() * _SOON

    def reset(self) -> None:
        """It worked."""
        self._bound = self._base
