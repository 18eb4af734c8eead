"""The fleet key in Redis: one key without a room, which every worker renews and restores."""

import re
from collections.abc import Sequence
from typing import Final

from relay.backend.fleet_keys import MOST_RECORDS
from relay.backend.redis.keys import Keys
from relay.backend.redis.place import Redis
from relay.backend.redis.replies import ScriptFailed
from relay.backend.redis.scripts import FLEET_KEY, milliseconds
from relay.model.errors import Unavailable

_RECORDS: Final = re.compile(rb"\d{17}-[0-9a-f]{64}(?: \d{17}-[0-9a-f]{64}){0,%d}" % (MOST_RECORDS - 1))

_FAILED = "Redis cannot store the fleet key; the log has its text"
_NO_KEY = "the answer of Redis is no fleet key"


class RedisFleetKeys:
    """Calls fleet_key.lua. No text of Redis is logged here, because the reply has the secrets."""

    def __init__(self, client: Redis, keys: Keys, *, ttl: float) -> None:
        self._client = client
        self._keys = keys
        self._ttl = milliseconds(ttl)

    async def agree(self, known: Sequence[str], suggestion: str) -> Sequence[str]:
        """Call fleet_key.lua, which does everything in one step: workers that begin together make one key."""
        try:
            reply = await self._client.run(
                FLEET_KEY, (self._keys.fleet_key,), self._ttl, MOST_RECORDS, suggestion, " ".join(known)
            )
        except ScriptFailed:
            # Sharing the key again does no harm, so this counts as a refusal.
            raise Unavailable(_FAILED).because(_FAILED) from None
        if not isinstance(reply, bytes) or not _RECORDS.fullmatch(reply):
            raise Unavailable(_NO_KEY).because(_NO_KEY)
        return reply.decode().split(" ")
