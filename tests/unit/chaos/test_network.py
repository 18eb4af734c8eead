"""The network of the chaos suite causes the faults that it is asked for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from tests.chaos.network import Doom, Double, Network


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


async def test_a_black_hole_keeps_its_bytes_until_it_is_light_again(network: Network, dial: Dial) -> None:
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


async def test_a_narrow_network_is_wide_again_at_once(network: Network, dial: Dial) -> None:
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


async def test_messages_that_fit_are_not_touched(network: Network, dial: Dial) -> None:
    line = await dial()
    network.rate = 5000
    assert await line.echoes(b"x" * 100)
    assert network.touched == 0


async def test_a_doomed_connection_is_reset_for_the_near_side_alone_and_later_for_the_far_side() -> None:
    got: list[tuple[bytes, float]] = []
    ended = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clock = asyncio.get_running_loop().time
        try:
            while data := await reader.read(65_536):
                got.append((data, clock()))
                writer.write(b"answer to " + data)
        except ConnectionError:
            pass
        got.append((b"", clock()))
        writer.transport.abort()
        ended.set()

    async with (
        await asyncio.start_server(take, "127.0.0.1", 0) as server,
        Network(server.sockets[0].getsockname()[1]) as network,
    ):
        for doom, heard in ((Doom(b"bad", up=True, linger=0.2), [b"good", b"bad"]), (Doom(b"bad"), [b"good", b"bad"])):
            got.clear()
            ended.clear()
            network.doom = lambda doom=doom: doom
            reader, writer = await asyncio.open_connection("127.0.0.1", network.port)
            writer.write(b"good")
            assert await reader.readexactly(14) == b"answer to good"
            writer.write(b"bad")
            with suppress(ConnectionError):
                assert await reader.read() == b""
            async with asyncio.timeout(5):
                await ended.wait()
            assert [data for data, _ in got] == [*heard, b""]
            assert got[-1][1] - got[-2][1] >= doom.linger * 0.9
            writer.transport.abort()


async def test_a_doubled_connection_sends_its_first_data_to_another_port_as_well(network: Network, dial: Dial) -> None:
    copies: asyncio.Queue[bytes] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            copies.put_nowait(await reader.read(65_536))
        writer.transport.abort()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        network.double = lambda: Double(port, 0.05, 0.0)
        line = await dial()
        assert await line.echoes(b"first")
        assert await line.echoes(b"second")
        async with asyncio.timeout(5):
            assert await copies.get() == b"first"
        assert copies.empty()


async def test_of_two_that_are_asked_at_once_the_first_that_answers_is_heard(network: Network, dial: Dial) -> None:
    lost: asyncio.Queue[bytes] = asyncio.Queue()

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                lost.put_nowait(data)
        lost.put_nowait(b"")
        writer.transport.abort()

    async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        network.rival = lambda: port
        line = await dial()
        assert await line.echoes(b'{"type":"welcome"}')
        assert await line.echoes(b"second")
        async with asyncio.timeout(5):
            assert [await lost.get(), await lost.get()] == [b'{"type":"welcome"}', b""]


async def test_a_stall_keeps_back_the_messages_for_a_subscriber(network: Network, dial: Dial) -> None:
    subscriber, other = await dial(), await dial()
    assert await subscriber.echoes(b"SUBSCRIBE room")
    network.stall()
    assert not await subscriber.echoes(b"a", timeout=0.1)
    assert await other.echoes(b"b")
    assert network.touched == 1
    network.flow()
    assert await subscriber.reader.readexactly(1) == b"a"
