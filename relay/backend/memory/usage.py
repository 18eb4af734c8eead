"""The use of each address in a process without Redis, which is the whole fleet."""

from collections.abc import Callable

from relay.backend.usage import MINUTE_MS


class MemoryAddressUsage:
    """Counts nothing, as the worker's own count is that of the fleet; `wall` returns the time in seconds."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall

    def now(self) -> int:
        """Return the time of this machine."""
        return round(self._wall() * 1000)

    def add(
        self,
        kind: str,
        address: str,
        period: int,
        amount: int,
        told: Callable[[int], None],
        *,
        length: int = MINUTE_MS,
    ) -> None:
        """Do nothing."""
