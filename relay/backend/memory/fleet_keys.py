"""The fleet key of a process without Redis."""

from collections.abc import Sequence

from relay.backend.fleet_keys import MOST_RECORDS
from relay.limits import Clock


class MemoryFleetKeys:
    """Records in memory: of one worker in operation, of several in tests."""

    def __init__(self, wall_clock: Clock) -> None:
        self._wall_clock = wall_clock
        self._records: Sequence[str] = ()

    async def agree(self, known: Sequence[str], suggestion: str) -> Sequence[str]:
        """Do as fleet_key.lua does."""
        records = sorted({*self._records, *known})
        if not records:
            records = [f"{int(self._wall_clock() * 1_000_000):017}-{suggestion}"]
        self._records = (records[0], *records[1:][1 - MOST_RECORDS :])
        return self._records
