"""Checkpoints of streams, as they are stored: bytes whose meaning is the gateway's."""

from collections.abc import Mapping
from typing import Final, NamedTuple

CHECKPOINT_TTL: Final = 21_600.0
"""Seconds for which the checkpoint of a connected client is kept after it was written last."""

FIRST_TURN: Final = 1
"""The turn of a stream that was never resumed."""


class Kept(NamedTuple):
    """The checkpoint of one turn, and the texts that belong to it, by their numbers."""

    turn: int
    data: bytes
    texts: Mapping[int, bytes]
