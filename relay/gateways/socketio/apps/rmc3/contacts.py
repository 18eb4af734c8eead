"""The contacts of a page: it is told once of each, and again when that one is gone."""

from collections import OrderedDict
from typing import Final

MOST: Final = 1000
"""Contacts of one page; of more, the page is not told when those end that began first."""


class Contacts:
    """The peer ids (escaped) with which a client has exchanged messages."""

    __slots__ = ("_peers",)

    def __init__(self) -> None:
        self._peers: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, peer: str) -> bool:
        """Whether the client has exchanged messages with a peer."""
        return peer in self._peers

    def begin(self, peer: str) -> bool:
        """Note a message from or to a peer; return whether it is the first one."""
        if peer in self._peers:
            return False
        self._peers[peer] = None
        if len(self._peers) > MOST:
            self._peers.popitem(last=False)
        return True

    def end(self, peer: str) -> bool:
        """Forget a peer; return whether it was a contact."""
        if peer not in self._peers:
            return False
        del self._peers[peer]
        return True

    def rename(self, old: str, new: str) -> None:
        """Note that a contact has another peer id now."""
        if self.end(old):
            self.begin(new)

    def end_all(self) -> list[str]:
        """Forget all, and return them."""
        ended = list(self._peers)
        self._peers.clear()
        return ended

    def clear(self) -> None:
        """Forget all."""
        self._peers.clear()
