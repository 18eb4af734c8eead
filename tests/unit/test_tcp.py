"""The servers of tests end with all their connections."""

import asyncio
import socket
from contextlib import closing

import pytest

from tests.chaos.network import Network
from tests.chaos.sentinel_network import SentinelFront
from tests.conformance.test_retries import Cutter
from tests.fleet import Proxy


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize(
    "kind",
    [Network, lambda port: Cutter([port], ["before"]), Proxy, lambda port: SentinelFront(port, {})],
    ids=["network", "cutter", "proxy", "sentinel"],
)
async def test_a_proxy_ends_with_a_connection_that_comes_last(
    monkeypatch: pytest.MonkeyPatch, kind, turns: int
) -> None:
    """It is accepted just before the end, and its other side takes long to open."""
    connect, opened = asyncio.open_connection, list[asyncio.StreamWriter]()

    async def connect_slowly(*arguments):
        await asyncio.sleep(0.02)
        reader, writer = await connect(*arguments)
        opened.append(writer)
        return reader, writer

    monkeypatch.setattr(asyncio, "open_connection", connect_slowly)
    # Nobody accepts its connections; the system completes them all the same.
    with socket.create_server(("127.0.0.1", 0)) as target:
        async with kind(target.getsockname()[1]) as proxy:
            near = socket.create_connection(("127.0.0.1", proxy.port))
            for _ in range(turns):
                await asyncio.sleep(0)
        with closing(near):
            left = [task for task in asyncio.all_tasks() if "_serve" in str(task.get_coro())]
            unclosed = [writer for writer in opened if not writer.transport.is_closing()]
            await asyncio.gather(*left)
            assert not left
            assert not unclosed
