"""Replies of Redis that no worker may take for a key; tests/contract/test_fleet_keys.py has the contract."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from relay.backend.redis.client import RedisClient
from relay.backend.redis.cluster.keys import GROUPS, ClusterKeys
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


async def test_a_key_is_made_at_another_shard_only_after_some_time() -> None:
    """A shard that is replaced comes back; and workers of an earlier version have the key there alone."""
    now = [0.0]
    cluster: Any = Shards()
    keys = RedisFleetKeys(cluster, ClusterKeys("relay"), ttl=60, clock=lambda: now[0])
    for now[0] in (0.0, 4.9):
        with pytest.raises(Unavailable) as raised:
            await keys.agree((), "b" * 64)
        assert raised.value.report == f"{raised.value.text}: connection refused"
    now[0] = 5.0
    assert await keys.agree((), "b" * 64) == [f"{1:017}-{'b' * 64}"]
    # All others have a copy of it at once.
    assert len(cluster.stored) == GROUPS
    assert set(cluster.stored.values()) == {f"{1:017}-{'b' * 64}".encode()}


async def test_a_round_fails_only_if_no_shard_answers() -> None:
    """The key and the copy whose turn it is may be on one shard, which is away or refuses writes."""
    cluster: Any = Shards()
    keys = RedisFleetKeys(cluster, ClusterKeys("relay"), ttl=60)
    cluster.away |= {group.fleet_key for group in ClusterKeys("relay").lease_groups[:8]}
    for _ in range(GROUPS):
        assert await keys.agree([RECORD], "b" * 64) == [RECORD]
    assert len(cluster.stored) == GROUPS // 2
    cluster.away |= {group.fleet_key for group in ClusterKeys("relay").lease_groups}
    with pytest.raises(Unavailable):
        await keys.agree([RECORD], "b" * 64)


class Shards:
    """A cluster of which the shard of the key is away; the others run the script."""

    clustered = True
    report = "connection refused"

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.away = {"relay:fleet-key"}

    def at_key(self, key: str) -> Any:
        return SimpleNamespace(reachable=key not in self.away)

    async def run(self, script: Any, keys: Any, ttl: int, most: int, suggestion: str, known: str) -> bytes:
        if keys[0] in self.away:
            raise Unavailable().because("connection refused")
        made = f"{1:017}-{suggestion}" if suggestion else ""
        stored = self.stored.get(keys[0], b"") or (known or made).encode()
        if stored:
            self.stored[keys[0]] = stored
        return stored
