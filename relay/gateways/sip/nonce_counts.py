"""The nonces that clients have answered at one worker, so that it takes no answer twice (RFC 2617, section 3.2.2)."""

from collections import OrderedDict
from typing import Final

MOST_NONCES: Final = 256
"""Nonces whose counts a worker remembers, for each of the groups of client addresses."""

_GROUPS: Final = 64


class NonceCounts:
    """Takes each count of a nonce once, in rising order, for as long as a nonce lives.

    The memory is bounded: with a nonce that is forgotten, every other one that is not younger is used up as well. A
    client with such a nonce is challenged again.
    """

    __slots__ = ("_counts", "_forgotten", "_most")

    def __init__(self, most: int = MOST_NONCES) -> None:
        self._most = most
        # Nonce → when it was made, and its highest count. The one that was answered first comes first.
        self._counts: OrderedDict[bytes, tuple[float, int]] = OrderedDict()
        self._forgotten = 0.0

    def __len__(self) -> int:
        """Return how many nonces are remembered."""
        return len(self._counts)

    def take(self, nonce: bytes, made: float, count: int) -> bool:
        """Take a count of a nonce that was made at this time; False if it is used up."""
        _, before = self._counts.get(nonce, (made, 0))
        if made <= self._forgotten or count <= before:
            return False
        self._counts[nonce] = (made, count)
        if len(self._counts) > self._most:
            _, (oldest, _) = self._counts.popitem(last=False)
            self._forgotten = max(self._forgotten, oldest)
        return True

    def forget(self, before: float) -> None:
        """Forget the nonces that were made before a time: they are too old for an answer."""
        while self._counts and next(iter(self._counts.values()))[0] < before:
            self._counts.popitem(last=False)


class GroupedNonceCounts:
    """Nonce counts by groups of client addresses, so that one address uses up no nonces but those of its group.

    Nobody knows which addresses are in a group: Python chooses its hashes anew for each process.
    """

    __slots__ = ("_groups",)

    def __init__(self) -> None:
        self._groups = [NonceCounts() for _ in range(_GROUPS)]

    def of(self, address: str) -> NonceCounts:
        """Return the counts for an address."""
        return self._groups[hash(address) % _GROUPS]
