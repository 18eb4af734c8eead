"""The interface to the use of each address in a minute, or another period; all workers of a fleet count together."""

from collections.abc import Callable
from typing import Protocol

MINUTE_MS = 60_000


class AddressUsage(Protocol):
    """Counts by address, kind and minute. Calls do not fail: a worker that gets no answer goes by its own count."""

    def now(self) -> int:
        """Return the time (ms) of a clock that all workers of the fleet share, as far as it is known."""
        ...

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
        """Add to the use of an address in a period (`now` divided by its `length`, in ms).

        `told` is called with the total of the fleet once that is known; in memory there is no other worker, and it is
        not called.
        """
        ...
