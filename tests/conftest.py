"""Fixtures for every test that wants a real server."""

import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.fleet import Client, RedisServer, Relay

MakeRelay = Callable[..., Awaitable[Relay]]
MakeClient = Callable[..., Awaitable[Client]]

_numbers = itertools.count()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The Redis that tests share; each works under a prefix of its own."""
    server = RedisServer().start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisServer) -> str:
    return redis_server.url


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis for one test, which may do to it what it likes."""
    server = RedisServer().start()
    yield server
    server.close()


@pytest.fixture
def prefix() -> str:
    return f"test{next(_numbers)}-{time.time_ns() % 10**9}"


@pytest.fixture
async def start() -> AsyncIterator[MakeRelay]:
    """Starts workers, and waits until they are ready."""
    relays: list[Relay] = []

    async def start(*, ready: bool = True, **settings: Any) -> Relay:
        relays.append(Relay(**settings))
        return await relays[-1].ready() if ready else relays[-1]

    yield start
    for relay in relays:
        relay.close()


@pytest.fixture
async def enter() -> AsyncIterator[MakeClient]:
    """Opens clients: `enter(relay, "/rooms/x?peer=a")`."""
    clients: list[Client] = []

    async def enter(relay: Relay, path: str = "/rooms/room", **options: Any) -> Client:
        clients.append(await Client.open(relay.ws + path, **options))
        return clients[-1]

    yield enter
    for client in clients:
        client.lose()
        await client.socket.wait_closed()


@pytest.fixture
async def pair(start: MakeRelay, redis_url: str, prefix: str) -> tuple[Relay, Relay]:
    """Two workers over one Redis, with quick timings."""
    first = await start(redis=redis_url, prefix=prefix)
    return first, await start(redis=redis_url, prefix=prefix)
