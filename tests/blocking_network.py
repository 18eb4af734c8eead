"""A network that lets no WebSocket through: a proxy in front of a relay that ends upgrades, while plain HTTP passes."""

import asyncio
import contextlib
from typing import Self

_CHUNK = 65_536
_REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class BlockingNetwork:
    """A TCP proxy to several ports; each connection goes to the next one that is reachable.

    While `blocking`, it refuses requests for an upgrade, or with `resets` resets their connections; `block` also ends
    the WebSockets that are open. `refused` counts the upgrades that it ended.
    """

    def __init__(self, *ports: int, blocking: bool = True, resets: bool = False) -> None:
        self.ports = list(ports)
        self.port = 0
        self.blocking = blocking
        self.refused = 0
        self._resets = resets
        self._next = 0
        self._upgraded: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def ws(self) -> str:
        """The relay's address, as clients in this network reach it."""
        return f"ws://127.0.0.1:{self.port}"

    def block(self) -> None:
        """Let no WebSocket through from now on, and end those that are open."""
        self.blocking = True
        for writer in self._upgraded:
            writer.transport.abort()

    def open(self) -> None:
        """Let WebSockets through."""
        self.blocking = False

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, near: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                head = await near.readuntil(b"\r\n\r\n")
                if b"\r\nupgrade: websocket" in head.lower():
                    if self.blocking:
                        await self._refuse(writer)
                        return
                    self._upgraded.add(writer)
                far, far_writer = await self._reach()
                ends.append(far_writer)
                far_writer.write(head)
                await self._carry(near, far_writer, far, writer)
        finally:
            self._upgraded.discard(writer)
            for end in ends:
                end.transport.abort()

    async def _refuse(self, writer: asyncio.StreamWriter) -> None:
        self.refused += 1
        if not self._resets:
            writer.write(_REFUSAL)
            writer.close()
            await writer.wait_closed()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the next port that is reachable."""
        for _ in self.ports[1:]:
            with contextlib.suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", self._turn())
        return await asyncio.open_connection("127.0.0.1", self._turn())

    def _turn(self) -> int:
        self._next += 1
        return self.ports[self._next % len(self.ports)]

    async def _carry(
        self,
        near: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
        far: asyncio.StreamReader,
        near_writer: asyncio.StreamWriter,
    ) -> None:
        ways = [asyncio.create_task(_copy(near, far_writer)), asyncio.create_task(_copy(far, near_writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
