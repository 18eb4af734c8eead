"""Text in Redis that is no address; tests/contract/test_addresses.py has the contract."""

from collections.abc import AsyncIterator

import pytest

from relay.backend.presence import LeaseName
from relay.backend.redis.addresses import RedisAddresses
from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.keys import Keys
from relay.backend.settings import ForwardAddress
from tests.unit.backend.redis.conftest import ScriptedRedis

OWN = ForwardAddress("owner-0", "10.0.0.1:8890")


@pytest.fixture
async def client(server: ScriptedRedis) -> AsyncIterator[RedisClient]:
    dialer = Dialer(server.url, timeout=5, name="test")
    async with RedisClient(dialer, timeout=5, waiting=1000, on_reconnect=lambda: None) as one:
        yield one


def addresses(client: RedisClient, own: ForwardAddress | None = OWN) -> RedisAddresses:
    return RedisAddresses(client, Keys("relay"), LeaseName("w", "1"), own)


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


async def find(server: ScriptedRedis, client: RedisClient, value: bytes, score: bytes = b"$-1\r\n") -> str:
    server.answer = lambda command: {b"GETRANGE": bulk(value), b"ZSCORE": score}.get(command[0], b"+OK\r\n")
    return await addresses(client).find("owner-0")


@pytest.mark.parametrize("value", [b"", b"10.0.0.1:8890", b" ", b"10.0.0.1:8890 ", b"\xff\xfe"])
async def test_a_value_without_a_lease_is_no_address(server: ScriptedRedis, client: RedisClient, value: bytes) -> None:
    assert await find(server, client, value) == ""
    assert all(command[0] != b"ZSCORE" for command in server.commands)


async def test_a_lease_that_does_not_exist_or_has_run_out(server: ScriptedRedis, client: RedisClient) -> None:
    assert await find(server, client, b"10.0.0.1:8890 w/1") == ""
    assert await find(server, client, b"10.0.0.1:8890 w/1", bulk(b"1000")) == ""


async def test_a_live_lease(server: ScriptedRedis, client: RedisClient) -> None:
    assert await find(server, client, b"10.0.0.1:8890 w/1", bulk(b"1e18")) == "10.0.0.1:8890"
    assert server.commands[-2][1:] == [b"relay:address:owner-0", b"0", b"512"]
    assert server.commands[-1][1:] == [b"relay:workers", b"w/1"]


async def test_the_own_address_is_written_with_a_time_to_live_and_deleted(
    server: ScriptedRedis, client: RedisClient
) -> None:
    server.answer = lambda command: b"+OK\r\n"
    one = addresses(client)
    one.announce(10_000)
    one.withdraw()
    await client.call("PING")
    key = b"relay:address:owner-0"
    assert server.commands[-3:-1] == [
        [b"SET", key, b"10.0.0.1:8890 w/1", b"PX", b"10000"],
        [b"DEL", key],
    ]


async def test_a_worker_without_an_address_writes_none(server: ScriptedRedis, client: RedisClient) -> None:
    server.answer = lambda command: b"+OK\r\n"
    one = addresses(client, None)
    one.announce(10_000)
    one.withdraw()
    await client.call("PING")
    assert all(command[0] not in {b"SET", b"DEL"} for command in server.commands)
