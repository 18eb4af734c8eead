"""The interface to checkpoints: where the streams of clients stand that may be resumed on any worker."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from relay.model.checkpoints import Kept


class Checkpoints(Protocol):
    """The checkpoint of each stream. Each resumption has a turn of its own, and that of the newest turn counts.

    So a worker that has lost a stream, and does not know it yet, writes where nobody reads. Texts are written once: a
    checkpoint that changes does not carry those that it had before. `name` is a fingerprint of the stream's secret.
    Every method raises `Unavailable` or `OutcomeUnknown` without Redis's answer.
    """

    async def keep(
        self, name: str, turn: int, data: bytes, texts: Mapping[int, bytes], gone: Sequence[int], seconds: float
    ) -> None:
        """Replace the checkpoint of a turn for so many seconds, add texts to it, and forget others."""
        ...

    async def read(self, name: str) -> Kept | None:
        """Return the newest checkpoint; None of a stream that has ended."""
        ...

    async def begin_turn(self, name: str) -> int:
        """Return the number of a further turn, which no other caller gets."""
        ...

    async def newest_turn(self, name: str) -> int:
        """Return the number of the newest turn that was begun."""
        ...

    async def drop(self, name: str) -> None:
        """Forget a stream."""
        ...
