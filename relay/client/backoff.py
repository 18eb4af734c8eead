"""How long to wait before coming back."""

import random
from collections.abc import Callable

_BASE, _CAP, _SOON = 0.25, 10.0, 0.5


class Backoff:
    """Full jitter: somewhere between nothing and a bound that doubles with every failure, up to ten seconds."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._bound = _BASE

    def next(self, *, at_least: float = 0.0) -> float:
        """Seconds to wait after a failure; the relay may have asked for more (Retry-After)."""
        bound, self._bound = self._bound, min(_CAP, self._bound * 2)
        return at_least + self._draw() * bound

    def soon(self) -> float:
        """Seconds to wait after having been sent elsewhere: just long enough for not all to come at once."""
        return self._draw() * _SOON

    def reset(self) -> None:
        """It worked."""
        self._bound = _BASE
