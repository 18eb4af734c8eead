"""The answers of INFO about replicas, for health and metrics."""

import math
import time
from collections.abc import AsyncIterator

import pytest

from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.replication import RedisReplication, Replication
from relay.metrics import Metrics
from tests.fleet import eventually
from tests.unit.backend.redis.conftest import ScriptedRedis

MASTER = (
    "# Replication\r\nrole:master\r\nconnected_slaves:3\r\n"
    "slave0:ip=10.0.0.2,port=6379,state=online,offset=1000,lag=0\r\n"
    "slave1:ip=10.0.0.3,port=6379,state=online,offset=700,lag=4,io-thread=0\r\n"
    "slave2:ip=10.0.0.4,port=6379,state=wait_bgsave,offset=0,lag=90\r\n"
    "master_replid:8371b4fb1155b71f4a04d3e1bc3e18c4a990aeeb\r\nmaster_repl_offset:1010\r\n"
)


def test_replicas_in_step_count_and_the_last_one_says_how_far_it_is_behind() -> None:
    assert Replication.read(MASTER) == Replication(2, 4, 310)


@pytest.mark.parametrize("text", ["", "role:slave\r\nmaster_repl_offset:5\r\n", "role:master\r\n", "\x00" * 100])
def test_anything_else_is_unknown(text: str) -> None:
    assert Replication.read(text) is None


@pytest.fixture
async def client(server: ScriptedRedis) -> AsyncIterator[RedisClient]:
    dialer = Dialer(server.url, timeout=5, name="test")
    async with RedisClient(dialer, timeout=5, waiting=10, on_reconnect=lambda: None) as client:
        await client.call("PING")
        yield client


def replication_of(server: ScriptedRedis, client: RedisClient, metrics: Metrics, needed: int = 0) -> RedisReplication:
    dialer = Dialer(server.url, timeout=5, name="test")
    return RedisReplication(client, dialer, metrics, needed=needed, clock=time.monotonic)


def told(server: ScriptedRedis, text: str) -> None:
    server.answer = lambda command: (
        b"$%d\r\n%b\r\n" % (len(text), text.encode()) if command[0] == b"INFO" else b"+OK\r\n"
    )


async def test_an_operator_sees_the_replicas_and_the_metrics_have_them(
    server: ScriptedRedis, client: RedisClient
) -> None:
    metrics = Metrics()
    replication = replication_of(server, client, metrics, needed=2)
    assert (replication.is_known, replication.suffices) == (True, False)
    told(server, MASTER)
    replication.ask()
    await eventually(lambda: replication.suffices)
    assert replication.text == (
        "the master; replicas online: 2, and messages need 2 (durability); the last one is 4 s and 310 bytes behind"
    )
    assert metrics.registry.get_sample_value("relay_redis_replicas") == 2
    assert metrics.registry.get_sample_value("relay_redis_replica_lag_seconds") == 4
    assert metrics.registry.get_sample_value("relay_redis_replica_lag_bytes") == 310


async def test_a_redis_without_replicas_is_nothing_to_talk_about(server: ScriptedRedis, client: RedisClient) -> None:
    metrics = Metrics()
    replication = replication_of(server, client, metrics)
    told(server, "role:master\r\nconnected_slaves:0\r\nmaster_repl_offset:0\r\n")
    replication.ask()
    await client.call("PING")
    assert (replication.is_known, replication.suffices) == (False, True)
    assert metrics.registry.get_sample_value("relay_redis_replicas") == 0
    assert math.isnan(metrics.registry.get_sample_value("relay_redis_replica_lag_seconds"))


async def test_a_redis_that_does_not_tell_leaves_it_unknown(server: ScriptedRedis, client: RedisClient) -> None:
    metrics = Metrics()
    replication = replication_of(server, client, metrics, needed=1)
    server.answer = lambda command: b"-NOPERM no\r\n" if command[0] == b"INFO" else b"+OK\r\n"
    replication.ask()
    await client.call("PING")
    assert not replication.suffices
    assert "not known" in replication.text
    assert math.isnan(metrics.registry.get_sample_value("relay_redis_replicas"))


async def test_it_asks_once_in_two_seconds(server: ScriptedRedis, client: RedisClient) -> None:
    replication = replication_of(server, client, Metrics())
    for _ in range(5):
        replication.ask()
    await client.call("PING")
    assert [command[0] for command in server.commands].count(b"INFO") == 1
