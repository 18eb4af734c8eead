"""Checkpoints of streams in a process without Redis."""

from collections.abc import Mapping
from typing import Final

from relay.backend.checkpoints import CHECKPOINT_TTL
from relay.limits import Clock

_MOST: Final = 10_000
"""Streams; the one that was written first is forgotten."""


class MemoryCheckpoints:
    """A dictionary: name → the checkpoints by turn, and the time at which they end."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._streams: dict[str, tuple[dict[int, bytes], float]] = {}

    async def keep(self, name: str, turn: int, data: bytes) -> None:
        """Write as Redis does."""
        turns, _ = self._streams.pop(name, ({}, 0.0))
        self._streams[name] = turns | {turn: data}, self._clock() + CHECKPOINT_TTL
        while len(self._streams) > _MOST or next(iter(self._streams.values()))[1] < self._clock():
            del self._streams[next(iter(self._streams))]

    async def read(self, name: str) -> Mapping[int, bytes]:
        """Look it up."""
        turns, ends = self._streams.get(name, ({}, 0.0))
        return turns if ends >= self._clock() else {}

    async def drop(self, name: str) -> None:
        """Delete it."""
        self._streams.pop(name, None)
