"""Ids that a worker remembers for a while: those of sessions that were opened, or of places whose clients have left."""

from collections import OrderedDict
from typing import Generic, TypeVar

from relay.limits import Clock

Value = TypeVar("Value")


class RecentValues(Generic[Value]):
    """Remembers a value under each id for some seconds, and at most so many of them: the newest."""

    def __init__(self, clock: Clock, *, seconds: float, most: int) -> None:
        self._clock = clock
        self._seconds = seconds
        self._most = most
        self._kept: OrderedDict[str, tuple[float, Value]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many ids are remembered."""
        return len(self._kept)

    def get(self, one: str) -> Value | None:
        """Return the value of an id, None if it is not remembered."""
        self._forget_old()
        _, value = self._kept.get(one, (0.0, None))
        return value

    def put(self, one: str, value: Value) -> None:
        """Remember a value under an id from now on."""
        self._kept.pop(one, None)
        while len(self._kept) >= self._most:
            self._kept.popitem(last=False)
        self._kept[one] = self._clock(), value

    def forget(self, one: str) -> None:
        """Forget an id, if it is remembered."""
        self._kept.pop(one, None)

    def _forget_old(self) -> None:
        since = self._clock() - self._seconds
        while self._kept and next(iter(self._kept.values()))[0] < since:
            self._kept.popitem(last=False)


class RecentIds:
    """Remembers each id for some seconds, and at most so many of them: the newest."""

    def __init__(self, clock: Clock, *, seconds: float, most: int) -> None:
        self._ids: RecentValues[bool] = RecentValues(clock, seconds=seconds, most=most)

    def __len__(self) -> int:
        """Return how many ids are remembered."""
        return len(self._ids)

    def __contains__(self, one: str) -> bool:
        """Return whether an id is remembered."""
        return self._ids.get(one) is not None

    def add(self, one: str) -> bool:
        """Remember an id from now on; False if it is remembered already."""
        if one in self:
            return False
        self._ids.put(one, True)
        return True
