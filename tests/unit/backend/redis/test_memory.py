"""The memory of Redis: how it is asked for, and read."""

import pytest

from relay.backend.headroom import Level
from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.memory import RedisMemory
from relay.backend.redis.scripts import MEMORY
from tests.unit.backend.redis.conftest import ScriptedRedis


def told(used: int, most: int) -> bytes:
    return b"*2\r\n:%d\r\n:%d\r\n" % (used, most)


@pytest.mark.parametrize(
    ("reply", "level"),
    [
        (told(75, 100), Level.AMPLE),
        (told(85, 100), Level.LOW),
        (told(95, 100), Level.FULL),
        (told(0, 0), Level.AMPLE),
        (told(10**15, 0), Level.AMPLE),
        (b"-NOPERM this user has no permissions\r\n", Level.AMPLE),
    ],
)
async def test_the_share_that_is_used_decides(
    server: ScriptedRedis, caplog: pytest.LogCaptureFixture, reply: bytes, level: Level
) -> None:
    server.answer = lambda command: reply if command[1:2] == [MEMORY.sha.encode()] else b"+OK\r\n"
    async with RedisClient(
        Dialer(server.url, timeout=5, name="test"), timeout=5, waiting=10, on_reconnect=lambda: None
    ) as client:
        memory = RedisMemory(client, "relay:workers")
        memory.ask()
        memory.ask()
        await client.call("PING")
        assert client.headroom.level is level
    assert len([command for command in server.commands if command[0] == b"EVALSHA"]) == 1
    assert "NOPERM" not in caplog.text
