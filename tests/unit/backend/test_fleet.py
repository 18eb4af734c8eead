import pytest

from relay.backend.fleet import live_rooms
from relay.config import Settings
from relay.model.errors import Unavailable
from tests.unit.backend.redis.conftest import ScriptedRedis, server

__all__ = ["server"]


def array(*items: bytes) -> bytes:
    return b"*%d\r\n" % len(items) + b"".join(b"$%d\r\n%b\r\n" % (len(item), item) for item in items)


async def test_the_rooms_of_all_leases_are_counted_once(server: ScriptedRedis) -> None:
    rooms = {b"p:worker:a/1:rooms": (b"two", b"one"), b"p:worker:b/2:rooms": (b"two", b"empty")}
    members = {b"p:{one}:presence": 1, b"p:{two}:presence": 2, b"p:{empty}:presence": 0}

    def answer(command: list[bytes]) -> bytes:
        match command:
            case [b"ZRANGE", b"p:workers", *_]:
                return array(b"a/1", b"b/2")
            case [b"SMEMBERS", key]:
                return array(*rooms[key])
            case [b"HLEN", key]:
                return b":%d\r\n" % members[key]
        return b"+OK\r\n"

    server.answer = answer
    found = await live_rooms(Settings(redis_url=server.url, redis_prefix="p"))
    assert found == [("one", 1), ("two", 2)]


async def test_a_redis_that_is_away_is_unavailable_with_the_reason(server: ScriptedRedis) -> None:
    await server.stop()
    with pytest.raises(Unavailable, match="connection refused"):
        await live_rooms(Settings(redis_url=server.url, publish_timeout=0.2))
