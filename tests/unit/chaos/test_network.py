"""The network of the chaos suite does what it is told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.chaos.network import Network


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.transport.abort()

    async with (
        await asyncio.start_server(echo, "127.0.0.1", 0) as server,
        Network(server.sockets[0].getsockname()[1]) as network,
    ):
        yield network


class Line:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def echoes(self, text: bytes = b"x", timeout: float = 5) -> bool:
        self.writer.write(text)
        try:
            async with asyncio.timeout(timeout):
                return await self.reader.readexactly(len(text)) == text
        except TimeoutError:
            return False


Dial = Callable[[], Awaitable[Line]]


@pytest.fixture
async def dial(network: Network) -> AsyncIterator[Dial]:
    lines: list[Line] = []

    async def dial() -> Line:
        lines.append(Line(*await asyncio.open_connection("127.0.0.1", network.port)))
        return lines[-1]

    yield dial
    for line in lines:
        line.writer.transport.abort()


async def test_it_carries_bytes_both_ways(network: Network, dial: Dial) -> None:
    line = await dial()
    assert await line.echoes(b"x" * 100_000)


async def test_reset_ends_the_connections_of_now_and_refusing_those_to_come(network: Network, dial: Dial) -> None:
    line = await dial()
    assert await line.echoes()
    network.refusing = True
    network.reset()
    assert await line.reader.read() == b""
    late = await dial()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await late.echoes()
    network.refusing = False
    assert await (await dial()).echoes()


async def test_a_black_hole_keeps_what_it_got_until_it_is_light_again(network: Network, dial: Dial) -> None:
    line = await dial()
    assert await line.echoes()
    network.blacken()
    assert not await line.echoes(b"a", timeout=0.1)
    late = await dial()
    assert not await late.echoes(b"b", timeout=0.1)
    assert network.touched
    network.lighten()
    assert await line.reader.readexactly(1) == b"a"
    assert await late.reader.readexactly(1) == b"b"


async def test_a_delay_and_a_rate_take_their_time(network: Network, dial: Dial) -> None:
    loop = asyncio.get_running_loop()
    line = await dial()
    network.delay = 0.1
    began = loop.time()
    assert await line.echoes()
    assert loop.time() - began >= 0.2
    network.delay, network.rate = 0.0, 10_000
    began = loop.time()
    assert await line.echoes(b"x" * 2000)
    assert loop.time() - began >= 0.2


async def test_what_was_narrow_is_wide_again_at_once(network: Network, dial: Dial) -> None:
    line = await dial()
    assert await line.echoes()
    assert network.touched == 0
    network.rate = 5000
    assert not await line.echoes(b"x" * 100_000, timeout=0.3)
    assert network.touched
    network.rate = 0.0
    async with asyncio.timeout(5):
        rest = b""
        while len(rest) < 90_000:
            rest += await line.reader.read(65_536)


async def test_what_fits_is_not_touched(network: Network, dial: Dial) -> None:
    line = await dial()
    network.rate = 5000
    assert await line.echoes(b"x" * 100)
    assert network.touched == 0
