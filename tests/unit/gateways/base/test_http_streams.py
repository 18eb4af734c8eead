"""Event streams and posts over the relay's own server, where a client may stop reading."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from relay.config import Settings
from relay.model.codec import Frame
from relay.model.errors import SLOW
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import until
from tests.unit.gateways.base.http_fakes import Gateway
from tests.unit.serving import Running, running

SETTINGS: dict[str, Any] = {"send_buffer": 65_536, "handshake_timeout": 0.3}


class App:
    """An application with the gateway of the tests alone."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
        else:
            scope["state"] = self._gateway.state
            await self._gateway(scope, receive, send)


@pytest.fixture
async def served() -> AsyncIterator[tuple[Gateway, Running]]:
    async with Worker(Settings(**SETTINGS)) as worker:
        gateway = Gateway(worker)
        async with running(App(gateway), **SETTINGS) as server:
            yield gateway, server


async def begin(gateway: Gateway, server: Running) -> tuple[str, Any]:
    answer = await server.ask(b"POST /begin HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    session_id = answer.rpartition(b"\r\n\r\n")[2].decode()
    return session_id, gateway.sessions.get(session_id)


async def stream(server: Running, session_id: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await server.connect()
    writer.write(b"GET /stream?id=%b HTTP/1.1\r\nHost: x\r\n\r\n" % session_id.encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"content-type: text/event-stream" in head
    await reader.readuntil(b":\n\n")
    return reader, writer


async def test_events_arrive_while_the_response_is_open(served: tuple[Gateway, Running]) -> None:
    gateway, server = served
    session_id, session = await begin(gateway, server)
    reader, writer = await stream(server, session_id)
    await reader.readuntil(b'"type":"welcome"')
    for number in range(3):
        session.polling.write(Frame(b'{"n":%d}' % number))
        await reader.readuntil(b'data: {"n":%d}\n\n' % number)
    writer.close()
    await until(lambda: session.polling.idle)


async def test_a_client_that_stops_reading_is_closed_and_its_connection_dropped(
    served: tuple[Gateway, Running],
) -> None:
    gateway, server = served
    session_id, session = await begin(gateway, server)
    reader, writer = await stream(server, session_id)
    async with asyncio.timeout(10):
        while session.polling.reason is None:
            session.polling.write(Frame(b"x" * 60_000))
            await asyncio.sleep(0.001)
    assert session.polling.reason is SLOW
    await until(lambda: gateway.sessions.get(session_id) is None)
    # The server drops the connection when the client does not read for `handshake_timeout`.
    async with asyncio.timeout(10):
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            while True:
                await asyncio.sleep(0.4)
                await reader.readexactly(2**30)
    writer.close()
