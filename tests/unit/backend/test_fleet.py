import pytest

from relay.backend import fleet
from relay.backend.fleet import live_rooms
from relay.config import Settings
from relay.model.errors import Unavailable
from tests.unit.backend.redis.conftest import ScriptedRedis, server

__all__ = ["server"]


def array(*items: bytes) -> bytes:
    return b"*%d\r\n" % len(items) + b"".join(b"$%d\r\n%b\r\n" % (len(item), item) for item in items)


async def test_the_rooms_of_all_leases_are_counted_once(server: ScriptedRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "_PAGE", 1)
    rooms = {b"p:worker:a/1:index": [b"one", b"two"], b"p:worker:b/2:index": [b"empty", b"two"]}
    members = {b"p:{one}:presence": 1, b"p:{two}:presence": 2, b"p:{empty}:presence": 0}

    def answer(command: list[bytes]) -> bytes:
        match command:
            case [b"ZRANGE", b"p:workers", *_]:
                return array(b"a/1", b"b/2")
            case [b"SCARD" | b"ZCARD" | b"ZLEXCOUNT", *_]:
                return b":2\r\n"
            case [b"ZRANGEBYLEX", key, start, _, _, _, most]:
                return array(*[name for name in rooms[key] if start == b"-" or name > start[1:]][: int(most)])
            case [b"HLEN", key]:
                return b":%d\r\n" % members[key]
        return b"+OK\r\n"

    server.answer = answer
    settings = Settings(redis_url=server.url, redis_prefix="p")
    assert await live_rooms(settings) == ([("one", 1), ("two", 2)], "")


async def test_a_redis_that_is_away_is_unavailable_with_the_reason(server: ScriptedRedis) -> None:
    await server.stop()
    with pytest.raises(Unavailable) as raised:
        await live_rooms(Settings(redis_url=server.url, publish_timeout=0.2))
    assert "connection refused" in raised.value.report
    assert "connection refused" not in raised.value.text
