"""The interface to the use of each address in a minute, which all workers of a fleet count together."""

from collections.abc import Callable
from typing import Protocol

MINUTE_MS = 60_000


class AddressUsage(Protocol):
    """Counts by address, kind and minute. Calls do not fail: a worker that gets no answer goes by its own count."""

    def now(self) -> int:
        """Return the time (ms) of a clock that all workers of the fleet share, as far as it is known."""
        ...

    def add(self, kind: str, address: str, minute: int, amount: int, told: Callable[[int], None]) -> None:
        """Add to the use of an address in a minute (`now` divided by `MINUTE_MS`).

        `told` is called with the total of the fleet once that is known; in memory there is no other worker, and it is
        not called.
        """
        ...
