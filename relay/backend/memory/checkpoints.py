"""Checkpoints of streams in a process without Redis."""

from collections.abc import Mapping, Sequence
from typing import Final

from relay.limits import Clock
from relay.model.checkpoints import CHECKPOINT_TTL, FIRST_TURN, Kept

_MOST: Final = 10_000
"""Streams; the one that was written first is forgotten."""


class _Stream:
    """The checkpoints of one stream by turn, and the time at which they end."""

    __slots__ = ("ends", "kept", "turn")

    def __init__(self) -> None:
        self.kept: dict[int, Kept] = {}
        self.turn = FIRST_TURN
        self.ends = 0.0


class MemoryCheckpoints:
    """A dictionary of streams."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._streams: dict[str, _Stream] = {}

    async def keep(
        self, name: str, turn: int, data: bytes, texts: Mapping[int, bytes], gone: Sequence[int], seconds: float
    ) -> None:
        """Write as Redis does."""
        stream = self._written(name, seconds)
        before = stream.kept[turn].texts if turn in stream.kept else {}
        left = {number: text for number, text in {**before, **texts}.items() if number not in set(gone)}
        stream.kept[turn] = Kept(turn, data, left)

    async def read(self, name: str) -> Kept | None:
        """Look it up."""
        stream = self._streams.get(name)
        if stream is None or stream.ends < self._clock() or not stream.kept:
            return None
        newest = max(stream.kept)
        stream.kept = {newest: stream.kept[newest]}
        return stream.kept[newest]

    async def begin_turn(self, name: str) -> int:
        """Count."""
        stream = self._written(name, CHECKPOINT_TTL)
        stream.turn += 1
        return stream.turn

    async def newest_turn(self, name: str) -> int:
        """Look it up."""
        stream = self._streams.get(name)
        return FIRST_TURN if stream is None else stream.turn

    async def drop(self, name: str) -> None:
        """Delete it."""
        self._streams.pop(name, None)

    def _written(self, name: str, seconds: float) -> _Stream:
        """Return a stream that is written now, and forget others that have ended or are too many."""
        stream = self._streams.pop(name, None) or _Stream()
        stream.ends = self._clock() + seconds
        self._streams[name] = stream
        while len(self._streams) > _MOST or next(iter(self._streams.values())).ends < self._clock():
            del self._streams[next(iter(self._streams))]
        return stream
