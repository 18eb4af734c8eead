"""Watched rooms in Redis: a key for each of them."""

from collections.abc import Callable
from typing import Any

from relay.backend.redis.keys import Keys
from relay.backend.redis.place import Redis
from relay.backend.redis.scripts import milliseconds


class RedisWatchedRooms:
    """Sends one command for each call, and ignores errors: the next watcher, or the next member, calls again."""

    def __init__(self, client: Redis, keys: Keys, *, ttl: float) -> None:
        self._client = client
        self._keys = keys
        self._ttl = milliseconds(ttl)

    def note(self, room: str) -> None:
        """Set the room's key."""
        self._client.tell("SET", self._keys.watched(room), "1", "PX", self._ttl)

    def look(self, room: str, watched: Callable[[], None]) -> None:
        """Ask for the room's key."""

        def answered(reply: Any) -> None:
            if reply == 1:
                watched()

        self._client.tell("EXISTS", self._keys.watched(room), done=answered)
