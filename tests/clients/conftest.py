"""Two workers over one Redis, and client programs that are closed at the end of a test."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest_asyncio

from tests.clients.driver import Driven, Library
from tests.fleet import RedisServer, Relay

OpenDriven = Callable[..., Awaitable[Driven]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers(redis_server: RedisServer) -> AsyncIterator[tuple[Relay, Relay]]:
    relays = [Relay(redis_url=redis_server.url, redis_prefix="clients", reconnect_grace=5.0) for _ in range(2)]
    yield await relays[0].ready(), await relays[1].ready()
    for relay in relays:
        relay.close()


@pytest_asyncio.fixture(loop_scope="module")
async def drive() -> AsyncIterator[OpenDriven]:
    """Starts client programs: `drive(LIBRARY, TRANSPORT, URL)`."""
    opened: list[Driven] = []

    async def open_driven(library: Library, *arguments: str) -> Driven:
        opened.append(await Driven.open(library, *arguments))
        return opened[-1]

    yield open_driven
    for one in opened:
        await one.close()
