"""Ids that a worker remembers for a while: those of sessions that were opened, or of places whose clients have left."""

from collections import OrderedDict

from relay.limits import Clock


class RecentIds:
    """Remembers each id for some seconds, and at most so many of them: the newest."""

    def __init__(self, clock: Clock, *, seconds: float, most: int) -> None:
        self._clock = clock
        self._seconds = seconds
        self._most = most
        self._ids: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """Return how many ids are remembered."""
        return len(self._ids)

    def __contains__(self, one: str) -> bool:
        """Return whether an id is remembered."""
        self._forget_old()
        return one in self._ids

    def add(self, one: str) -> bool:
        """Remember an id from now on; False if it is remembered already."""
        if one in self:
            return False
        while len(self._ids) >= self._most:
            self._ids.popitem(last=False)
        self._ids[one] = self._clock()
        return True

    def _forget_old(self) -> None:
        since = self._clock() - self._seconds
        while self._ids and next(iter(self._ids.values())) < since:
            self._ids.popitem(last=False)
