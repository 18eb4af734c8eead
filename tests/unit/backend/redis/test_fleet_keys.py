"""Replies of Redis that no worker may take for a key; tests/contract/test_fleet_keys.py has the contract."""

from collections.abc import AsyncIterator

import pytest

from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.fleet_keys import RedisFleetKeys
from relay.backend.redis.keys import Keys
from relay.model.errors import Unavailable
from tests.unit.backend.redis.conftest import ScriptedRedis

RECORD = f"{1:017}-{'a' * 64}"


@pytest.fixture
async def keys(server: ScriptedRedis) -> AsyncIterator[RedisFleetKeys]:
    dialer = Dialer(server.url, timeout=5, name="test")
    async with RedisClient(dialer, timeout=5, waiting=1000, on_reconnect=lambda: None) as client:
        yield RedisFleetKeys(client, Keys("relay"), ttl=60)


def answer(server: ScriptedRedis, reply: bytes) -> None:
    server.answer = lambda command: reply if command[0] == b"EVALSHA" else b"+OK\r\n"


def bulk(text: str) -> bytes:
    return f"${len(text)}\r\n{text}\r\n".encode()


async def test_the_records_are_returned(server: ScriptedRedis, keys: RedisFleetKeys) -> None:
    answer(server, bulk(f"{RECORD} {RECORD}"))
    assert await keys.agree([RECORD], "b" * 64) == [RECORD, RECORD]
    sent = server.commands[-1]
    assert sent[3:] == [b"relay:fleet-key", b"60000", b"4", b"b" * 64, RECORD.encode()]


@pytest.mark.parametrize(
    "reply",
    [
        bulk(""),
        bulk("x"),
        bulk(RECORD[1:]),
        bulk(" ".join([RECORD] * 5)),
        b":1\r\n",
        b"*0\r\n",
        b"-ERR Error in script: x\r\n",
    ],
)
async def test_anything_else_is_refused_and_not_logged(
    server: ScriptedRedis, keys: RedisFleetKeys, reply: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer(server, reply)
    with pytest.raises(Unavailable, match=r"the answer of Redis is no fleet key|cannot store the fleet key"):
        await keys.agree([RECORD], "b" * 64)
    assert "a" * 64 not in caplog.text
