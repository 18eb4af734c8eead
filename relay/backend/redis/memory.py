"""The memory of Redis: the bytes that are used, and their limit."""

from typing import Any, Final

from relay.backend.redis.client import RedisClient
from relay.backend.redis.keys import Keys
from relay.backend.redis.scripts import MEMORY

_INTERVAL: Final = 1.0
"""Seconds between two questions."""


class RedisMemory:
    """Asks Redis for its memory, and reports it to the client's `Headroom`.

    A server that does not tell, or a user without the right to INFO, counts as without a limit.
    """

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._due = 0.0

    def ask(self) -> None:
        """Call memory.lua, at most once a second."""
        if self._client.clock.time >= self._due:
            self._due = self._client.clock.time + _INTERVAL
            self._client.send_script(MEMORY, (self._keys.workers,), (), self._answered)

    def _answered(self, reply: Any) -> None:
        # An error is ignored: the heartbeat fails as well, or the next question gets an answer.
        if isinstance(reply, list):
            self._client.headroom.report(*reply)
