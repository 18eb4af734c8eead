"""Turns in Redis: a key for each name, which expires when the turn is over."""

from relay.backend.redis.keys import Keys
from relay.backend.redis.place import Redis
from relay.backend.redis.scripts import TURN_OVER, milliseconds
from relay.backend.turns import NOBODY


class RedisTurns:
    """One command for each call. The value of a turn is its owner."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def take(self, name: str, seconds: float, owner: str = NOBODY) -> bool:
        """Set the key unless it exists: one worker alone does so."""
        key = self._keys.turn(name)
        return await self._client.call("SET", key, owner, "NX", "PX", milliseconds(seconds)) is not None

    async def is_taken(self, name: str) -> bool:
        """Look for the key."""
        return bool(await self._client.call("EXISTS", self._keys.turn(name)))

    async def give_back(self, name: str, owner: str) -> None:
        """Delete the key, in one step with the look at its owner."""
        await self._client.run(TURN_OVER, (self._keys.turn(name),), owner)

    async def share(self, name: str, value: bytes, seconds: float) -> None:
        """Set the value, with its time to live."""
        await self._client.call("SET", self._keys.shared(name), value, "PX", milliseconds(seconds))

    async def shared(self, name: str) -> bytes:
        """Read the value whole: only workers write it."""
        value: bytes | None = await self._client.call("GETRANGE", self._keys.shared(name), 0, -1)
        return value or b""
