"""A network in front of a port that can reset, block, delay and throttle connections."""

import asyncio
import contextlib
from typing import Self

_CHUNK = 65_536
_NARROW = 1024


class Network:
    """A TCP proxy; its settings hold for current and for later connections, unless stated otherwise.

    `delay` is in seconds for each direction, `rate` in bytes a second for each connection and direction. `touched`
    counts the connections and data that were ended, refused or delayed, which proves that a fault had an effect.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.delay = 0.0
        self.rate = 0.0
        self.refusing = False
        self.touched = 0
        self._black = False
        self._paths: set[Path] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        while self._serving:
            self.reset()
            self.lighten()
            await asyncio.wait(self._serving, timeout=0.1)
        await self._server.wait_closed()

    def reset(self) -> None:
        """End every current connection with a reset."""
        self.touched += len(self._paths)
        for path in list(self._paths):
            path.reset()

    def blacken(self, *, later: bool = True) -> None:
        """Let nothing through, without ending connections: on current ones, and with `later` on new ones, too."""
        self._black = later
        for path in self._paths:
            path.open.clear()

    def lighten(self) -> None:
        """End `blacken`: delayed data goes through, as TCP would send it again."""
        self._black = False
        for path in self._paths:
            path.open.set()

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = Path(self, writer)
        if self.refusing:
            self.touched += 1
            path.reset()
            return
        if self._black:
            path.open.clear()
        self._paths.add(path)
        try:
            await path.run(reader)
        finally:
            self._paths.discard(path)
            path.reset()


class Path:
    """One connection through the network."""

    def __init__(self, network: Network, near: asyncio.StreamWriter) -> None:
        self._network = network
        self._ends = [near]
        self.open = asyncio.Event()
        self.open.set()

    def reset(self) -> None:
        """Abort both sides."""
        for end in self._ends:
            end.transport.abort()

    async def run(self, near: asyncio.StreamReader) -> None:
        """Copy bytes in both directions until one side ends."""
        await self.open.wait()
        with contextlib.suppress(OSError):
            far, writer = await asyncio.open_connection("127.0.0.1", self._network.target)
            self._ends.append(writer)
            ways = [asyncio.create_task(self._carry(*way)) for way in ((near, writer), (far, self._ends[0]))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                await self.open.wait()
                data = await reader.read(_CHUNK)
                if not data:
                    return
                self._network.touched += not self.open.is_set()
                await self.open.wait()
                if self._network.delay:
                    # Data that arrives meanwhile waits in socket buffers and then goes in one piece.
                    self._network.touched += 1
                    await asyncio.sleep(self._network.delay)
                await self._let_through(data, writer)

    async def _let_through(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        """Write in small pieces while there is a rate, so that a change of the rate takes effect at once."""
        while data:
            rate = self._network.rate
            piece, data = (data[:_NARROW], data[_NARROW:]) if rate else (data, b"")
            if rate:
                # After a full piece there is more data, which has to wait.
                self._network.touched += len(piece) == _NARROW
                await asyncio.sleep(len(piece) / rate)
            writer.write(piece)
            await writer.drain()
