"""The interface between a worker and the backend's record of the fleet key."""

from collections.abc import Sequence
from typing import Final, Protocol

MOST_RECORDS: Final = 4
"""Records of fleet keys that are remembered: the present key, and the three newest of the others."""


class FleetKeys(Protocol):
    """The fleet key as all workers share it; `relay.fleet_key` describes a record."""

    async def agree(self, known: Sequence[str], suggestion: str) -> Sequence[str]:
        """Share the records that this worker knows, and return those of the fleet, the oldest first.

        The oldest record is the present key of the fleet. So workers with different keys, of which one was made while
        Redis had lost the other, all come to the older one; the newer one is still accepted. `suggestion` becomes the
        secret of the first record if neither the fleet nor this worker has one. Raises `Unavailable` or
        `OutcomeUnknown` when Redis does not answer.
        """
        ...
