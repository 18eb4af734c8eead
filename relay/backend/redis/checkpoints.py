"""Checkpoints of streams in Redis: a hash for each stream.

The field `turns` counts the resumptions. The checkpoint of turn 3 is in the field `3`, and its text 17 in `3:17`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from relay.backend.redis.keys import Keys
from relay.backend.redis.place import Redis
from relay.backend.redis.scripts import milliseconds
from relay.model.checkpoints import CHECKPOINT_TTL, FIRST_TURN, Kept

_TURNS: Final = b"turns"


class RedisCheckpoints:
    """Commands of one write are sent together; each of them may be repeated."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def keep(
        self, name: str, turn: int, data: bytes, texts: Mapping[int, bytes], gone: Sequence[int], seconds: float
    ) -> None:
        """Send HSET, PEXPIRE, and HDEL where texts are gone."""
        key = self._keys.checkpoint(name)
        fields = [part for number, text in texts.items() for part in (f"{turn}:{number}", text)]
        commands = [
            self._client.call("HSET", key, turn, data, *fields),
            self._client.call("PEXPIRE", key, milliseconds(seconds)),
        ]
        if gone:
            commands.append(self._client.call("HDEL", key, *[f"{turn}:{number}" for number in gone]))
        await asyncio.gather(*commands)

    async def read(self, name: str) -> Kept | None:
        """Send HGETALL, and HDEL for the fields that earlier turns have left."""
        key = self._keys.checkpoint(name)
        reply = await self._client.call("HGETALL", key)
        fields: dict[bytes, bytes] = dict(zip(reply[::2], reply[1::2], strict=True))
        fields.pop(_TURNS, None)
        newest = max((int(field) for field in fields if b":" not in field), default=0)
        if not newest:
            return None
        head, prefix = b"%d" % newest, b"%d:" % newest
        texts = {int(field[len(prefix) :]): text for field, text in fields.items() if field.startswith(prefix)}
        left = [field for field in fields if field != head and not field.startswith(prefix)]
        if left:
            await self._client.call("HDEL", key, *left)
        return Kept(newest, fields[head], texts)

    async def begin_turn(self, name: str) -> int:
        """Send HINCRBY and PEXPIRE."""
        key = self._keys.checkpoint(name)
        count, _ = await asyncio.gather(
            self._client.call("HINCRBY", key, _TURNS, 1),
            self._client.call("PEXPIRE", key, milliseconds(CHECKPOINT_TTL)),
        )
        return FIRST_TURN + int(count)

    async def newest_turn(self, name: str) -> int:
        """Send HGET."""
        count = await self._client.call("HGET", self._keys.checkpoint(name), _TURNS)
        return FIRST_TURN + int(count or 0)

    async def drop(self, name: str) -> None:
        """Send DEL."""
        await self._client.call("DEL", self._keys.checkpoint(name))
