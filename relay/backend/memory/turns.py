"""Turns in a process without Redis: of one worker in operation, of several in tests."""

from typing import Final

from relay.backend.turns import NOBODY
from relay.limits import Clock

_MANY: Final = 1024

_FREE: Final = (float("-inf"), "")
"""A turn that nobody has taken."""


class MemoryTurns:
    """Turns and values in memory. Turns that are over are forgotten when there are many."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # By name: when the turn is over, and its owner.
        self._taken: dict[str, tuple[float, str]] = {}
        self._many = _MANY
        self._values: dict[str, tuple[float, bytes]] = {}

    async def take(self, name: str, seconds: float, owner: str = NOBODY) -> bool:
        """Take the turn unless it was taken less than its time ago."""
        now = self._clock()
        if now < self._taken.get(name, _FREE)[0]:
            return False
        if len(self._taken) >= self._many:
            self._taken = {one: taken for one, taken in self._taken.items() if taken[0] > now}
            self._many = max(_MANY, 2 * len(self._taken))
        self._taken[name] = now + seconds, owner
        return True

    async def is_taken(self, name: str) -> bool:
        """Compare the end of the turn with the clock."""
        return self._clock() < self._taken.get(name, _FREE)[0]

    async def give_back(self, name: str, owner: str) -> None:
        """Forget the turn of this owner."""
        if self._taken.get(name, _FREE)[1] == owner:
            del self._taken[name]

    async def share(self, name: str, value: bytes, seconds: float) -> None:
        """Keep the value with its end."""
        self._values[name] = (self._clock() + seconds, value)

    async def shared(self, name: str) -> bytes:
        """Return the value if it has not ended."""
        end, value = self._values.get(name, (0.0, b""))
        return value if self._clock() < end else b""
