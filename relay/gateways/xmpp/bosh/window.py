"""The order of a client's requests: their ids follow each other, also over several connections."""

from enum import Enum
from typing import Final

from relay.gateways.xmpp.bosh.body import RequestBody

REQUESTS: Final = 2
"""Requests that a client may have open: one that waits for messages, and one that brings some."""


class RidPlace(Enum):
    """The place of a request in the order."""

    NEXT = "next"
    AHEAD = "ahead"
    """One before it is still to come."""
    REPEATED = "repeated"
    """The client has not got its answer."""
    OUTSIDE = "outside"
    """Its id is too large or too small, or an earlier request had it."""


class Window:
    """The request ids of one client; `last` is that of the last request that was served."""

    __slots__ = ("_digests", "last")

    def __init__(self, first: RequestBody) -> None:
        self.last = first.rid
        self._digests = {first.rid: first.digest}

    def place(self, request: RequestBody) -> RidPlace:
        """Return the place of a request."""
        rid = request.rid
        if rid == self.last + 1:
            return RidPlace.NEXT
        if rid > self.last:
            return RidPlace.AHEAD if rid <= self.last + REQUESTS else RidPlace.OUTSIDE
        return RidPlace.REPEATED if self._digests.get(rid) == request.digest else RidPlace.OUTSIDE

    def advance(self, request: RequestBody) -> None:
        """Note that the next request was served."""
        self.last = request.rid
        self._digests[request.rid] = request.digest
        self._digests.pop(request.rid - REQUESTS, None)
