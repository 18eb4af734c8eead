"""Turns in a process without Redis: of one worker in operation, of several in tests."""

from typing import Final

from relay.limits import Clock

_MANY: Final = 1024


class MemoryTurns:
    """Turns and values in memory. Turns that are over are forgotten when there are many."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._taken_until: dict[str, float] = {}
        self._values: dict[str, tuple[float, bytes]] = {}

    async def take(self, name: str, seconds: float) -> bool:
        """Take the turn unless it was taken less than its time ago."""
        now = self._clock()
        if now < self._taken_until.get(name, now):
            return False
        if len(self._taken_until) >= _MANY:
            self._taken_until = {one: until for one, until in self._taken_until.items() if until > now}
        self._taken_until[name] = now + seconds
        return True

    async def give_back(self, name: str) -> None:
        """Forget the turn."""
        self._taken_until.pop(name, None)

    async def share(self, name: str, value: bytes, seconds: float) -> None:
        """Keep the value with its end."""
        self._values[name] = (self._clock() + seconds, value)

    async def shared(self, name: str) -> bytes:
        """Return the value if it has not ended."""
        end, value = self._values.get(name, (0.0, b""))
        return value if self._clock() < end else b""
