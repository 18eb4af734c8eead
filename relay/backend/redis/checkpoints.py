"""Checkpoints of streams in Redis: a hash for each stream, with one field for each turn."""

import asyncio
from collections.abc import Mapping

from relay.backend.checkpoints import CHECKPOINT_TTL
from relay.backend.redis.client import RedisClient
from relay.backend.redis.keys import Keys
from relay.backend.redis.scripts import milliseconds


class RedisCheckpoints:
    """Two commands for each write, sent together."""

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def keep(self, name: str, turn: int, data: bytes) -> None:
        """Send HSET and PEXPIRE."""
        key = self._keys.checkpoint(name)
        await asyncio.gather(
            self._client.call("HSET", key, turn, data),
            self._client.call("PEXPIRE", key, milliseconds(CHECKPOINT_TTL)),
        )

    async def read(self, name: str) -> Mapping[int, bytes]:
        """Send HGETALL."""
        reply = await self._client.call("HGETALL", self._keys.checkpoint(name))
        return {int(turn): data for turn, data in zip(reply[::2], reply[1::2], strict=True)}

    async def drop(self, name: str) -> None:
        """Send DEL."""
        await self._client.call("DEL", self._keys.checkpoint(name))
