"""Watched rooms of a process without Redis: the worker knows all of its clients, and needs no record."""

from collections.abc import Callable


class MemoryWatchedRooms:
    """Records nothing."""

    def note(self, room: str) -> None:
        """Do nothing."""

    def look(self, room: str, watched: Callable[[], None]) -> None:
        """Find nothing that the worker does not know."""
