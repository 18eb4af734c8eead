"""The memory of Redis: the bytes that are used, and their limit."""

from typing import Any, Final

from relay.backend.redis.place import RedisPlace
from relay.backend.redis.scripts import MEMORY

_INTERVAL: Final = 1.0
"""Seconds between two questions."""


class RedisMemory:
    """Asks Redis for its memory, and reports it to the client's `Headroom`.

    `key` is one that this Redis has. A server that does not tell, or a user without the right to INFO, counts as
    without a limit.
    """

    def __init__(self, place: RedisPlace, key: str) -> None:
        self._place = place
        self.key = key
        self._due = 0.0

    def ask(self) -> None:
        """Call memory.lua, at most once a second."""
        if self._place.clock.time >= self._due:
            self._due = self._place.clock.time + _INTERVAL
            self._place.send_script(MEMORY, (self.key,), (), self._answered)

    def _answered(self, reply: Any) -> None:
        # An error is ignored: the heartbeat fails as well, or the next question gets an answer.
        if isinstance(reply, list):
            self._place.headroom.report(*reply)
