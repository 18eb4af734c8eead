"""Recent channels of a process without Redis."""

from collections import OrderedDict
from typing import Final

from relay.backend.channels import MOST_CHANNELS, bounded
from relay.limits import Clock

_MOST_ROOMS: Final = 1000
"""Rooms whose channels are remembered: those that used one last."""


class MemoryRecentChannels:
    """The times at which channels were used, by room; `ttl` is in seconds."""

    noted = frozenset[tuple[str, str]]()

    def __init__(self, *, ttl: float, clock: Clock) -> None:
        self._ttl = ttl
        self._clock = clock
        self._rooms: OrderedDict[str, OrderedDict[str, float]] = OrderedDict()

    def note(self, room: str, channel: str) -> None:
        """Remember the time; the channel, and the room, that were used longest ago are forgotten."""
        channels = self._rooms.setdefault(room, OrderedDict())
        self._rooms.move_to_end(room)
        name = bounded(channel)
        channels[name] = self._clock()
        channels.move_to_end(name)
        if len(channels) > MOST_CHANNELS:
            channels.popitem(last=False)
        if len(self._rooms) > _MOST_ROOMS:
            self._rooms.popitem(last=False)

    async def used(self, room: str, channel: str) -> bool:
        """Look the time up."""
        channels = self._rooms.get(room)
        noted = None if channels is None else channels.get(bounded(channel))
        return noted is not None and noted > self._clock() - self._ttl
