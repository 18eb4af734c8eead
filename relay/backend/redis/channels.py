"""Recent channels in Redis: a sorted set for each room whose messages have channels."""

import asyncio
from collections.abc import Callable
from typing import Final

from relay.backend.channels import MOST_CHANNELS, bounded, digest
from relay.backend.redis.keys import Keys
from relay.backend.redis.place import Redis, ignore
from relay.backend.redis.scripts import CHANNEL, milliseconds

_RENEWALS: Final = 4
"""How often a channel that is in use all the time is noted within the time to live; other messages cost no command."""

_MOST_NOTED: Final = 16_384
"""Channels of which a worker knows that it has noted them."""

_MOST_NEW: Final = 4 * MOST_CHANNELS
"""Channels of one room that are noted until the next renewal: one with a new channel in each message costs no more."""

Later = Callable[[float, Callable[[], None]], object]


class RedisRecentChannels:
    """Notes a channel by its hash with the time of Redis, and asks for one by a single command.

    `later` calls a function after some seconds, like `asyncio.loop.call_later`.
    """

    def __init__(self, client: Redis, keys: Keys, *, ttl: float, later: Later | None = None) -> None:
        self._client = client
        self._keys = keys
        self._renewal = ttl / _RENEWALS
        self._ttl = milliseconds(ttl + self._renewal)
        self._later = later
        self._ends = False
        self._counts: dict[str, int] = {}
        self.noted = set[tuple[str, str]]()

    def note(self, room: str, channel: str) -> None:
        """Call channel.lua, and ignore errors; do nothing for a channel that is noted already, or one too many."""
        name, count = (room, bounded(channel)), self._counts.get(room, 0)
        if name in self.noted or count >= _MOST_NEW:
            return
        if not self._ends:
            self._ends = True
            (self._later or asyncio.get_running_loop().call_later)(self._renewal, self._end)
        if len(self.noted) >= _MOST_NOTED:
            self._forget()
        self.noted.add(name)
        self._counts[room] = count + 1
        key = self._keys.channels(room)
        self._client.send_script(CHANNEL, (key,), (digest(channel), MOST_CHANNELS, self._ttl), ignore)

    def _end(self) -> None:
        """Forget all at once: looking at the time for each message would cost more than the commands."""
        self._ends = False
        self._forget()

    def _forget(self) -> None:
        self.noted.clear()
        self._counts.clear()

    async def used(self, room: str, channel: str) -> bool:
        """Ask for the time at which the channel was noted."""
        key = self._keys.channels(room)
        noted = await self._client.call("ZSCORE", key, digest(channel))
        return noted is not None and float(noted) > self._client.at_key(key).clock.now - self._ttl
