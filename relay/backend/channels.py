"""The interface between a worker and the backend's record of the channels that a room's messages have used lately."""

from collections.abc import Container
from hashlib import blake2b
from typing import Final, Protocol

MOST_CHANNELS: Final = 64
"""Channels of one room that are remembered: those that were used last."""

_SHORT: Final = 128


class RecentChannels(Protocol):
    """The channels of the last messages of each room, bounded in number and time.

    The record is a hint: it may be lost with Redis's data. Names are compared by a hash, as they have up to 2 KB.
    """

    @property
    def noted(self) -> Container[tuple[str, str]]:
        """Rooms and channels for which `note` would do nothing now: most messages use one of these."""
        ...

    def note(self, room: str, channel: str) -> None:
        """Record that a message of a room uses a channel; neither waits nor fails."""
        ...

    async def used(self, room: str, channel: str) -> bool:
        """Return whether messages of a room have used a channel lately; raises `Unavailable` or `OutcomeUnknown`."""
        ...


def digest(channel: str) -> str:
    """Return a short name for a channel."""
    return blake2b(channel.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def bounded(channel: str) -> str:
    """Return a name for a channel that takes little memory: most channels are short, and need no hash."""
    return channel if len(channel) <= _SHORT else digest(channel)
