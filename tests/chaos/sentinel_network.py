"""One worker's view of a master, its replicas and its sentinels: each server behind a network of its own."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import Self

from tests.chaos.network import Network
from tests.fleet import RedisServer
from tests.sentinels import SentinelSet
from tests.tcp import end_server

_CHUNK = 65_536


class SentinelFront:
    """A TCP proxy in front of a sentinel, whose answers name the networks instead of the servers behind them.

    So a worker reaches each server through its network, and the sentinels reach all of them without any. `ports` are
    those of the servers, each with that of its network.
    """

    def __init__(self, target: int, ports: Mapping[int, int]) -> None:
        self._target = target
        self._names = {b"\r\n%d\r\n" % port: b"\r\n%d\r\n" % network for port, network in ports.items()}
        if any(len(name) != len(other) for name, other in self._names.items()):
            raise ValueError("a port with another number of digits would need another length ahead of it")
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await end_server(self._server, self._end, self._serving)

    def _end(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with suppress(OSError):
                far_reader, far = await asyncio.open_connection("127.0.0.1", self._target)
                self._open.add(far)
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._carry(reader, far))
                        group.create_task(self._carry(far_reader, writer, renames=True))
                finally:
                    self._open.discard(far)
                    far.transport.abort()
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, renames: bool = False
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                for name, other in self._names.items() if renames else ():
                    data = data.replace(name, other)
                writer.write(data)
        writer.transport.abort()


class View:
    """The networks of one worker, by server, and the `url` for it."""

    def __init__(self, sentinels: SentinelSet) -> None:
        self._sentinels = sentinels
        self.networks: dict[RedisServer, Network] = {}
        self.url = ""

    async def open(self, stack: AsyncExitStack) -> Self:
        """Open the networks; the stack closes them."""
        for server in self._sentinels.servers:
            self.networks[server] = await stack.enter_async_context(Network(server.port))
        ports = {server.port: network.port for server, network in self.networks.items()}
        fronts = [await stack.enter_async_context(SentinelFront(one.port, ports)) for one in self._sentinels.sentinels]
        self.url = self._sentinels.url_by([front.port for front in fronts])
        return self
