"""Tests of the common part of members in chaos rounds."""

import asyncio

from tests.chaos.reference import lose


async def test_a_connection_is_lost_after_all_that_has_arrived_was_read() -> None:
    lost, ended = asyncio.Event(), asyncio.Event()

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await writer.drain()
        writer.write(b", and more")
        await lost.wait()
        writer.close()
        ended.set()

    async with await asyncio.start_server(greet, "127.0.0.1") as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.readexactly(1) == b"h"
        lose(writer.transport)
        lost.set()
        assert await reader.read() in {b"ello", b"ello, and more"}
        await ended.wait()


async def test_a_connection_that_has_ended_is_lost_already() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1") as server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.transport.abort()
        await writer.wait_closed()
        lose(writer.transport)
