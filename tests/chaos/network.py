"""A network in front of a port that can reset, block, delay, throttle, lose and double connections."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Self

from tests.tcp import end_server

_CHUNK = 65_536
_NARROW = 1024
_ANSWER = b'"type":"welcome"'
_RACE = 3.0
"""Seconds after which a race without a winner ends."""


@dataclass(frozen=True)
class Doom:
    """The end of one connection: a reset of its near side at the first data that contains `mark`.

    Data to the far side (`up`) still arrives there, data to the near side does not. The far side is reset `linger`
    seconds later: until then it believes in the connection. The `part` of the data to the near side arrives.
    """

    mark: bytes
    up: bool = False
    linger: float = 0.0
    part: float = 0.0


@dataclass(frozen=True)
class Double:
    """A second copy of the near side's first bytes, to another port: sent `ahead` seconds before the original.

    No answer to the copy arrives anywhere; its connection is reset after `linger`.
    """

    port: int
    ahead: float
    linger: float


class Network:
    """A TCP proxy; its settings hold for current and for later connections, unless stated otherwise.

    `delay` is in seconds for each direction, `rate` in bytes a second for each connection and direction. `touched`
    counts the connections and data that were ended, refused or delayed, which proves that a fault had an effect.

    With `mute`, nothing arrives at the near side any more, while its own bytes still arrive at the far side.

    `doom`, `double` and `rival` return what happens to a new connection, or None. A `rival` is another port: both get
    the near side's first bytes, and it hears only the one that answers first with _ANSWER. `stall` keeps back the
    bytes for a near side that has subscribed (Redis), while its other connections go on.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.delay = 0.0
        self.rate = 0.0
        self.refusing = False
        self.mute = False
        self.doom: Callable[[], Doom | None] = lambda: None
        self.double: Callable[[], Double | None] = lambda: None
        self.rival: Callable[[], int | None] = lambda: None
        self.touched = 0
        self._flowing = asyncio.Event()
        self._flowing.set()
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
        await end_server(self._server, self._end, self._serving)

    def _end(self) -> None:
        self.reset()
        self.lighten()
        self.flow()

    def reset(self) -> None:
        """End every current connection with a reset."""
        self.touched += len(self._paths)
        for path in list(self._paths):
            path.reset()

    def stall(self) -> None:
        """Deliver nothing to near sides that have subscribed, on current connections and on new ones."""
        self._flowing.clear()

    def flow(self) -> None:
        """End `stall`: the bytes that were kept back are delivered."""
        self._flowing.set()

    async def flows(self) -> None:
        """Return when the network is not stalled."""
        if not self._flowing.is_set():
            self.touched += 1
            await self._flowing.wait()

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
        self.follow(self._serve(reader, writer))

    def follow(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` as a task that ends with this network at the latest."""
        task = asyncio.create_task(work)
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
        self._doom = network.doom()
        self._double = network.double()
        self._rival = network.rival()
        self._linger = 0.0
        self._subscribed = False
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
            far, writer = await self._reach(near)
            self._ends.append(writer)
            ways = [
                asyncio.create_task(self._carry(near, writer, up=True)),
                asyncio.create_task(self._carry(far, self._ends[0], up=False)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            await asyncio.sleep(self._linger)

    async def _reach(self, near: asyncio.StreamReader) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open the connection to the far side; the faster one, if there is a rival."""
        if self._rival is None:
            return await asyncio.open_connection("127.0.0.1", self._network.target)
        self._network.touched += 1
        racers = {await asyncio.open_connection("127.0.0.1", port) for port in (self._network.target, self._rival)}
        first = await near.read(_CHUNK)
        try:
            async with asyncio.timeout(_RACE):
                for _, writer in racers:
                    writer.write(first)
                won, answer = await self._race(racers)
        except TimeoutError:
            won, answer = None, b""
        for racer in racers - {won}:
            racer[1].transport.abort()
        if won is None:
            raise ConnectionResetError("none of the two has answered")
        self._ends[0].write(answer)
        return won

    @staticmethod
    async def _race(
        racers: set[tuple[asyncio.StreamReader, asyncio.StreamWriter]],
    ) -> tuple[tuple[asyncio.StreamReader, asyncio.StreamWriter] | None, bytes]:
        """The first that answers, and its answer; None if all end without."""

        async def answer_of(reader: asyncio.StreamReader) -> bytes:
            data = b""
            while _ANSWER not in data:
                more = await reader.read(_CHUNK)
                if not more:
                    return b""
                data += more
            return data

        running = {asyncio.create_task(answer_of(racer[0])): racer for racer in racers}
        try:
            while running:
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    racer = running.pop(task)
                    if task.exception() is None and (data := task.result()):
                        return racer, data
            return None, b""
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        with contextlib.suppress(OSError):
            while True:
                await self.open.wait()
                data = await reader.read(_CHUNK)
                if not data:
                    return
                self._network.touched += not self.open.is_set()
                await self.open.wait()
                if up:
                    self._subscribed = self._subscribed or b"SUBSCRIBE" in data
                elif self._subscribed:
                    await self._network.flows()
                if self._network.mute and not up:
                    self._network.touched += 1
                    continue
                if self._network.delay:
                    # Data that arrives meanwhile waits in socket buffers and then goes in one piece.
                    self._network.touched += 1
                    await asyncio.sleep(self._network.delay)
                if up and self._double:
                    data = await self._send_twice(data, self._double)
                if self._doom and self._doom.up == up and self._doom.mark in data:
                    self._end(data, self._doom)
                    return
                await self._let_through(data, writer)

    async def _send_twice(self, data: bytes, double: Double) -> bytes:
        """Send a copy of the first data elsewhere; return the data when the original is due."""
        self._double = None
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", double.port)
            writer.write(data)
            self._network.touched += 1
            self._network.follow(self._reset_later(writer, double.linger))
            await asyncio.sleep(double.ahead)
        return data

    @staticmethod
    async def _reset_later(writer: asyncio.StreamWriter, linger: float) -> None:
        await asyncio.sleep(linger)
        writer.transport.abort()

    def _end(self, last: bytes, doom: Doom) -> None:
        """Reset the near side; the far side gets its last data, and is reset later."""
        near, far = self._ends
        self._network.touched += 1
        self._linger = doom.linger
        if doom.up:
            far.write(last)
        elif doom.part:
            near.write(last[: round(doom.part * len(last))])
        near.transport.abort()

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
