"""A Redis, or a proxy ahead of it, that accepts connections and refuses or drops them: few attempts, few log lines."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
import redis

from tests.conftest import MakeRelay
from tests.fleet import RedisServer, Relay, eventually

_SECONDS = 4.0
_MOST = 2 * 14
"""Connections in that time: two for each worker, at most every 0.25 s after the first half second."""


def user(server: RedisServer, *rules: str) -> str:
    with server.client as client:
        client.execute_command("ACL", "SETUSER", "x", "reset", "on", ">pw-of-x", "~*", "&*", "+@all", *rules)
    return f"redis://x:pw-of-x@127.0.0.1:{server.port}"


def received(server: RedisServer) -> int:
    with server.client as client:
        return int(client.info("stats")["total_connections_received"])


async def watched(relay: Relay, server: RedisServer) -> tuple[int, list[str]]:
    """Return the connections that Redis received in some seconds, and the lines that were logged until then."""
    await eventually(lambda: relay.healthy(503), 20)
    before = received(server)
    await asyncio.sleep(_SECONDS)
    # The two calls of this function are connections as well.
    return received(server) - before - 1, [line for line in relay.logged.splitlines() if "backend.redis" in line]


async def report(relay: Relay) -> dict[str, str]:
    return {name: check["text"] for name, check in (await relay.get("/health")).json()["checks"].items()}


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (("resetchannels",), "NOPERM"),
        (("-subscribe",), "'subscribe' command"),
        (("-publish",), "'publish' command"),
    ],
)
async def test_a_user_without_a_permission(start: MakeRelay, own_redis: RedisServer, rules, words) -> None:
    relay = await start(ready=False, redis_url=user(own_redis, *rules))
    connections, lines = await watched(relay, own_redis)
    assert connections <= _MOST
    assert len(lines) <= 3
    assert words in relay.logged
    assert words in (await report(relay))["subscription"]
    user(own_redis)
    await relay.ready()
    assert "pw-of-x" not in relay.logged


async def test_a_password_that_redis_does_not_accept(start: MakeRelay, own_redis: RedisServer) -> None:
    user(own_redis)
    relay = await start(ready=False, redis_url=f"redis://x:Secret1@127.0.0.1:{own_redis.port}")
    connections, lines = await watched(relay, own_redis)
    assert connections <= _MOST
    assert len(lines) == 2
    assert "WRONGPASS" in (await report(relay))["redis"]
    assert "Secret1" not in relay.logged


async def test_too_many_clients(start: MakeRelay, own_redis: RedisServer) -> None:
    with own_redis.client as client:
        client.config_set("maxclients", 1)
        client.ping()
        relay = await start(ready=False, redis_url=own_redis.url)
        await eventually(lambda: relay.healthy(503), 20)
        before = client.info("stats")["rejected_connections"]
        await asyncio.sleep(_SECONDS)
        assert client.info("stats")["rejected_connections"] - before <= _MOST
        assert "max number of clients reached" in (await report(relay))["redis"]
        assert relay.logged.count("backend.redis") == 2
        client.config_set("maxclients", 100)
    await relay.ready()


async def test_connections_that_are_killed_again_and_again(start: MakeRelay, own_redis: RedisServer) -> None:
    relay = await start(redis_url=own_redis.url)
    before = received(own_redis)
    with own_redis.client as client:
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            for kind in ("pubsub", "normal"):
                with contextlib.suppress(redis.ResponseError):
                    client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
            await asyncio.sleep(0.01)
    assert received(own_redis) - before <= _MOST + 3
    assert relay.logged.count("backend.redis") <= 16
    await relay.ready()


@pytest.fixture
async def dropping() -> AsyncIterator[list[int]]:
    """A server that accepts connections and closes them at once; its first item is the port, the others are 1 each."""
    counted: list[int] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        counted.append(1)
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        counted.append(server.sockets[0].getsockname()[1])
        yield counted


async def test_a_proxy_that_accepts_and_closes(start: MakeRelay, dropping: list[int]) -> None:
    relay = await start(ready=False, redis_url=f"redis://127.0.0.1:{dropping[0]}")
    await eventually(lambda: relay.healthy(503), 20)
    before = len(dropping)
    await asyncio.sleep(_SECONDS)
    assert len(dropping) - before <= _MOST
    # Which of the two ends of the connection notices first is a race; each way of noticing is a cause of its own.
    assert relay.logged.count("backend.redis") <= 8


async def test_a_redis_without_its_master(start: MakeRelay, own_redis: RedisServer) -> None:
    with own_redis.client as client:
        client.config_set("replica-serve-stale-data", "no")
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        relay = await start(ready=False, redis_url=own_redis.url)
        connections, lines = await watched(relay, own_redis)
        assert connections <= _MOST
        assert len(lines) <= 3
        assert "MASTERDOWN" in str(await report(relay))
        client.execute_command("REPLICAOF", "NO", "ONE")
    await relay.ready()
