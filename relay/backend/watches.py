"""The interface between a worker and the backend's record of watched rooms.

A room is *watched* while a client has asked for its presence. Workers ping the members of watched rooms more often, so
that a silent client is missed sooner.
"""

from collections.abc import Callable
from typing import Protocol


class WatchedRooms(Protocol):
    """The rooms that are watched, by clients of any worker. Neither method waits, and neither fails.

    The record is a hint: it may be lost with Redis's data, and outlives the last watcher by hours.
    """

    def note(self, room: str) -> None:
        """Record that a room is watched, ahead of any command that is sent later."""
        ...

    def look(self, room: str, watched: Callable[[], None]) -> None:
        """Look whether a room is watched; `watched` is called if it is, perhaps after this has returned."""
        ...
