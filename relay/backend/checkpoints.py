"""The interface to checkpoints: where the streams of clients stand that may be resumed on any worker."""

from collections.abc import Mapping
from typing import Final, Protocol

CHECKPOINT_TTL: Final = 21_600.0
"""Seconds for which a checkpoint is kept after it was written last."""


class Checkpoints(Protocol):
    """The checkpoints of each stream, by the turn in which they were written: each resumption begins another one.

    So a worker that has lost a stream, and does not know it yet, writes where nobody reads. `name` is a fingerprint of
    the stream's secret. Every method raises `Unavailable` or `OutcomeUnknown` without Redis's answer.
    """

    async def keep(self, name: str, turn: int, data: bytes) -> None:
        """Replace the checkpoint of a turn."""
        ...

    async def read(self, name: str) -> Mapping[int, bytes]:
        """Return the checkpoints of all turns; none of a stream that has ended."""
        ...

    async def drop(self, name: str) -> None:
        """Forget a stream."""
        ...
