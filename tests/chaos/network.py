"""A stretch of network that can be cut, blackened, slowed and narrowed, between a port and whoever comes to it."""

import asyncio
import contextlib
from typing import Self

_CHUNK = 65_536
_NARROW = 1024


class Network:
    """A TCP proxy; what is set here holds for the connections of now and of later, unless it says otherwise.

    `delay` is in seconds for each direction, `rate` in bytes a second for each connection and direction. `touched`
    counts what was ended, refused or held up by it, so that a fault can be seen to have had an effect.
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
        """Every connection of now ends with a reset."""
        self.touched += len(self._paths)
        for path in list(self._paths):
            path.reset()

    def blacken(self, *, later: bool = True) -> None:
        """Nothing comes through, and nobody is told: over the connections of now, and with `later` over new ones."""
        self._black = later
        for path in self._paths:
            path.open.clear()

    def lighten(self) -> None:
        """The end of `blacken`: what was held up comes through, as TCP would send it again."""
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
    """One connection through it."""

    def __init__(self, network: Network, near: asyncio.StreamWriter) -> None:
        self._network = network
        self._ends = [near]
        self.open = asyncio.Event()
        self.open.set()

    def reset(self) -> None:
        """Hang up on both sides."""
        for end in self._ends:
            end.transport.abort()

    async def run(self, near: asyncio.StreamReader) -> None:
        """Carry bytes until one side has ended."""
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
                    # What comes meanwhile waits in the system's buffers, and then goes in one piece.
                    self._network.touched += 1
                    await asyncio.sleep(self._network.delay)
                await self._let_through(data, writer)

    async def _let_through(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        """In small pieces while it is narrow, so that it is wide again as soon as it is set so."""
        while data:
            rate = self._network.rate
            piece, data = (data[:_NARROW], data[_NARROW:]) if rate else (data, b"")
            if rate:
                # A full piece has more behind it, which has to wait.
                self._network.touched += len(piece) == _NARROW
                await asyncio.sleep(len(piece) / rate)
            writer.write(piece)
            await writer.drain()
