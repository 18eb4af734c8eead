"""A server in this process, for tests of `relay.process.server` and `relay.wire`."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from relay.config import Settings
from relay.process.server import ListenSocket, Server, bind

UPGRADE = (
    b"GET %s HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n"
)


class Recorder:
    """An ASGI application that accepts every WebSocket, echoes texts, and records the messages that it receives."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        self.scopes.append(scope)
        if scope["type"] == "http":
            while (await receive()).get("more_body"):
                pass
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"ok"})
            return
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            message = dict(await receive())
            self.heard.put_nowait(message)
            if message["type"] == "websocket.disconnect":
                return
            with suppress(OSError):
                await send({"type": "websocket.send", "text": message.get("text") or "bytes"})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})


@dataclass(frozen=True)
class Running:
    """A server and how to reach it."""

    server: Server
    port: int
    task: asyncio.Task[None]

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, request: bytes) -> bytes:
        """Send bytes and read to the end of the connection."""
        reader, writer = await self.connect()
        writer.write(request)
        try:
            return await reader.read()
        finally:
            writer.close()

    async def upgrade(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Complete a WebSocket handshake, and leave the rest to the caller."""
        reader, writer = await self.connect()
        writer.write(UPGRADE % (b"/", b""))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        return reader, writer


async def _nothing() -> None:
    pass


@asynccontextmanager
async def running(
    app: ASGIApp,
    *,
    drain: Callable[[], Awaitable[None]] = _nothing,
    tls: ssl.SSLContext | None = None,
    supervisor_pipe: int | None = None,
    **settings: Any,
) -> AsyncIterator[Running]:
    """Serve on a free port for as long as the context lasts."""
    declared = Settings(**settings)
    listeners = [ListenSocket(sock, tls) for sock in bind(declared.host, 0)]
    port = listeners[0].socket.getsockname()[1]
    server = Server(app, declared, listeners, drain=drain, supervisor_pipe=supervisor_pipe)
    task = asyncio.create_task(server.serve())
    try:
        yield Running(server, port, task)
    finally:
        if not task.done():
            server.stop()
        await task
