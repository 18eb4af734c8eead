"""Watched rooms in Redis: one command for each call."""

from typing import Any, cast

from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import pack
from relay.backend.redis.keys import Keys
from relay.backend.redis.place import ignore
from relay.backend.redis.watches import RedisWatchedRooms
from relay.model.errors import Unavailable


class FakeClient:
    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Any]] = []

    def tell(self, *command: Any, done: Any = ignore) -> None:
        self.sent.append((pack(*command), done))


def test_a_watched_room_has_a_key_for_a_time() -> None:
    client = FakeClient()
    watched = RedisWatchedRooms(cast(RedisClient, client), Keys("relay"), ttl=60)
    watched.note("room")
    ((command, done),) = client.sent
    assert command == pack("SET", "relay:{room}:watched", "1", "PX", 60_000)
    done(Unavailable())


def test_looking_calls_back_only_for_a_watched_room() -> None:
    client, found = FakeClient(), list[str]()
    watched = RedisWatchedRooms(cast(RedisClient, client), Keys("relay"), ttl=60)
    watched.look("room", lambda: found.append("room"))
    ((command, done),) = client.sent
    assert command == pack("EXISTS", "relay:{room}:watched")
    for reply in (0, Unavailable(), None):
        done(reply)
    assert found == []
    done(1)
    assert found == ["room"]
