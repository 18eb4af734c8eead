"""A stand-in for Redis that a test controls: it answers, does not answer, or closes its connections."""

import asyncio
from collections.abc import AsyncIterator, Callable

import hiredis
import pytest

Answer = Callable[[list[bytes]], bytes | None]


class ScriptedRedis:
    """Answers each command with `answer(command)`, or not at all if that is None; records commands, read by read."""

    def __init__(self) -> None:
        self.answer: Answer = lambda command: b"+OK\r\n"
        self.reads: list[list[list[bytes]]] = []
        self.clients: list[asyncio.StreamWriter] = []
        self._subscribers: dict[asyncio.StreamWriter, None] = {}
        self.resets = 0
        self.port = 0
        self._server: asyncio.Server | None = None

    @property
    def commands(self) -> list[list[bytes]]:
        return [command for read in self.reads for command in read]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def subscribers(self) -> list[asyncio.StreamWriter]:
        """The connections that ever subscribed to something."""
        return list(self._subscribers)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self.hang_up()
            await self._server.wait_closed()
            self._server = None

    def hang_up(self) -> None:
        clients, self.clients = self.clients, []
        for writer in clients:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients.append(writer)
        parser = hiredis.Reader()
        try:
            while data := await reader.read(65536):
                parser.feed(data)
                read = []
                while (command := parser.gets()) is not False:
                    read.append(command)
                    if command[0] == b"SUBSCRIBE":
                        self._subscribers[writer] = None
                    reply = b"+OK\r\n" if command[0] == b"CLIENT" else self.answer(command)
                    if reply is not None:
                        writer.write(reply)
                self.reads.append(read)
        except ConnectionError:
            self.resets += 1
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[ScriptedRedis]:
    server = ScriptedRedis()
    await server.start()
    yield server
    await server.stop()
