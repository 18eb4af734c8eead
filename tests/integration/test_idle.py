"""An idle connection keeps no task, no parser and no request."""

import asyncio
import gc

from relay.app import create_app
from relay.config import Settings
from relay.wire.asgi import AsgiWebSocket
from relay.wire.http import HttpProtocol
from relay.wire.websocket import WebSocketProtocol
from tests.fleet import eventually
from tests.unit.serving import Running, running

CROWD = 50


def count(kind: type) -> int:
    gc.collect()
    return sum(type(one) is kind for one in gc.get_objects())


async def tasks_of_nobody(served: Running) -> int:
    """How many tasks a server has that has started, and whose last request is over."""
    await served.ask(b"GET /health/live HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n")
    await eventually(lambda: not served.server.server_state.tasks)
    return len(asyncio.all_tasks())


async def test_a_connection_that_says_nothing_keeps_no_task_no_parser_and_no_request() -> None:
    async with running(create_app(Settings())) as served:
        tasks = await tasks_of_nobody(served)
        clients = [await served.upgrade() for _ in range(CROWD)]
        for reader, _ in clients:
            assert b'"welcome"' in await reader.readuntil(b"}")
        await eventually(lambda: len(asyncio.all_tasks()) == tasks)
        protocols = [one for one in gc.get_objects() if type(one) is WebSocketProtocol]
        assert len(protocols) == CROWD
        assert all(protocol._parser is None for protocol in protocols)
        await eventually(lambda: count(AsgiWebSocket) == count(HttpProtocol) == 0)
        del protocols
        for _, writer in clients:
            writer.transport.abort()
        await eventually(lambda: count(WebSocketProtocol) == 0)
        assert len(asyncio.all_tasks()) == tasks


async def test_a_storm_of_handshakes_ends_with_as_many_tasks_as_it_began() -> None:
    async with running(create_app(Settings())) as served:
        tasks = await tasks_of_nobody(served)
        for _ in range(3):
            clients = await asyncio.gather(*[served.upgrade() for _ in range(CROWD)])
            for reader, writer in clients:
                assert b'"welcome"' in await reader.readuntil(b"}")
                writer.transport.abort()
        await eventually(lambda: len(asyncio.all_tasks()) == tasks)
