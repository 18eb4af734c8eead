import asyncio
from collections.abc import Callable

import pytest

from relay.metrics import Metrics
from relay.model.codec import Batch, Frame
from relay.model.errors import GOING_AWAY, REPLACED, SLOW
from relay.rooms.connection import QueuedConnection, Transfer, WireConnection
from tests.unit.rooms.buffering import Client as Buffering


class FakeWire:
    """A wire whose client has so many bytes still to take."""

    def __init__(self) -> None:
        self.out = b""
        self.waiting = 0
        self.paused: list[bool] = []
        self.closed = []

    def write(self, data: bytes) -> int:
        self.out += data
        return self.waiting

    def when_drained(self, callback: Callable[[], None]) -> None:
        self.drained = callback

    def close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))

    def pause_reading(self, *, paused: bool) -> None:
        self.paused.append(paused)


class Client:
    """The other end of a queued connection: takes frames while `reading` is set."""

    def __init__(self, limit: int = 100, buffering: Buffering | None = None) -> None:
        self.reading = asyncio.Event()
        self.reading.set()
        self.got: list[bytes] = []
        self.closed = None
        self.closing = 0
        self.metrics = Metrics()
        self.paused: list[bool] = []
        self.connection = QueuedConnection(
            send=self._send,
            send_close=self._close,
            on_close=self._on_close,
            on_pause=self.paused.append,
            limit=limit,
            metrics=self.metrics.of("native"),
            buffering=buffering or Buffering(),
        )

    async def _send(self, frame: Frame) -> None:
        await self.reading.wait()
        self.got.append(frame.data)

    async def _close(self, reason) -> None:
        self.closed = reason

    def _on_close(self) -> None:
        self.closing += 1


@pytest.fixture
def wire() -> FakeWire:
    return FakeWire()


@pytest.fixture
def wired(wire: FakeWire) -> WireConnection:
    return WireConnection(wire, limit=100, metrics=Metrics().of("native"), buffering=Buffering())


def test_a_frame_goes_to_the_wire_at_once_and_as_it_is_sent(wire: FakeWire, wired: WireConnection) -> None:
    wired.write(Frame(b"hello"))
    wired.write_batch(Batch([Frame(b"a" * 126), Frame(b"b", is_text=False)]))
    assert wire.out == b"\x81\x05hello" + b"\x81\x7e\x00\x7e" + b"a" * 126 + b"\x82\x01b"


def test_a_frame_beyond_64_kilobytes_has_a_long_length() -> None:
    assert Frame(b"x" * 65_536).wire[:10] == b"\x81\x7f" + (65_536).to_bytes(8, "big")


@pytest.mark.parametrize("batch", [False, True])
def test_a_wire_with_too_many_waiting_bytes_is_closed(wire: FakeWire, wired: WireConnection, batch: bool) -> None:
    wire.waiting = 100
    wired.write(Frame(b"x"))
    assert wired.reason is None
    wire.waiting = 101
    if batch:
        wired.write_batch(Batch([Frame(b"x")]))
    else:
        wired.write(Frame(b"x"))
    assert wired.reason is SLOW
    assert wire.closed == [(4000, "slow")]
    wired.close(GOING_AWAY)
    wired.write(Frame(b"too late"))
    assert wire.closed == [(4000, "slow")]
    assert b"too late" not in wire.out


def test_sent_frames_are_counted(wire: FakeWire) -> None:
    metrics = Metrics()
    wired = WireConnection(wire, limit=100, metrics=metrics.of("native"), buffering=Buffering())
    wired.write(Frame(b"12345"))
    wired.write_batch(Batch([Frame(b"1"), Frame(b"2")]))
    value = metrics.registry.get_sample_value
    assert [value(f"relay_sent_{unit}_total", {"protocol": "native"}) for unit in ("messages", "bytes")] == [3, 7]


async def test_queued_frames_go_out_in_order_and_a_close_comes_after_them() -> None:
    client = Client()
    client.connection.write(Frame(b"0"))
    client.connection.write_batch(Batch([Frame(b"%d" % number) for number in range(1, 5)]))
    client.connection.close(GOING_AWAY)
    client.connection.close(REPLACED)
    client.connection.write(Frame(b"too late"))
    await client.connection.run_writer()
    assert client.got == [b"0", b"1", b"2", b"3", b"4"]
    assert client.closed is GOING_AWAY
    assert client.closing == 1


async def test_a_queue_above_its_limit_is_dropped_and_the_client_closed() -> None:
    client = Client(limit=100)
    client.reading.clear()
    writer = asyncio.create_task(client.connection.run_writer())
    for _ in range(11):
        client.connection.write(Frame(b"x" * 10))
        await asyncio.sleep(0)
    assert client.connection.reason is SLOW
    client.reading.set()
    await writer
    assert client.closed is SLOW
    assert len(client.got) == 1


async def test_bytes_that_were_sent_no_longer_count_against_the_limit() -> None:
    client = Client(limit=100)
    writer = asyncio.create_task(client.connection.run_writer())
    for number in range(50):
        client.connection.write(Frame(b"x" * 90))
        while len(client.got) <= number:
            await asyncio.sleep(0)
    assert client.connection.reason is None
    writer.cancel()


async def test_closes_are_counted_by_reason() -> None:
    client = Client()
    client.connection.close(SLOW)
    assert client.metrics.registry.get_sample_value("relay_closed_connections_total", {"reason": "slow"}) == 1


async def test_reading_pauses_at_the_source(wire: FakeWire, wired: WireConnection) -> None:
    client = Client()
    for connection in (wired, client.connection):
        connection.pause_reading(paused=True)
        connection.pause_reading(paused=False)
    assert wire.paused == client.paused == [True, False]


# Transfer.


async def test_a_wired_connection_asks_the_wire_until_it_closes(wire: FakeWire, wired: WireConnection) -> None:
    wire.transfer = lambda: Transfer(5, 3)
    assert wired.transfer() == (5, 3)
    wired.close(GOING_AWAY)
    assert wired.transfer() is None


async def test_a_queued_connection_knows_how_much_the_other_server_has_taken() -> None:
    client = Client()
    client.reading.clear()
    writer = asyncio.create_task(client.connection.run_writer())
    client.connection.write(Frame(b"12345"))
    await asyncio.sleep(0)
    assert client.connection.transfer() == Transfer(5, 0)
    client.reading.set()
    async with asyncio.timeout(5):
        while client.connection.transfer() != Transfer(5, 5):
            await asyncio.sleep(0)
    client.connection.close(GOING_AWAY)
    assert client.connection.transfer() is None
    await writer


# Bytes that count for the client's address.


def test_the_bytes_in_the_wire_count_until_the_client_has_caught_up(wire: FakeWire) -> None:
    client = Buffering()
    wired = WireConnection(wire, limit=1000, metrics=Metrics().of("native"), buffering=client)
    wired.write(Frame(b"x" * 100))
    assert client.total == 0
    wire.waiting = 204
    wired.write(Frame(b"y" * 200))
    wired.write_batch(Batch([Frame(b"z")]))
    assert client.total == 204 + 3 + 2 * 64
    wire.waiting = 206
    wired.write(Frame(b"u" * 200))
    assert client.total == 3 + 204 + 2 * 64, "the oldest has been taken"
    wire.drained()
    assert client.total == 0


def test_a_frame_that_waits_for_a_room_counts_once(wire: FakeWire) -> None:
    client, frame = Buffering(), Frame(b"x" * 500)
    wire.waiting = 504
    for _ in range(10):
        WireConnection(wire, limit=1000, metrics=Metrics().of("native"), buffering=client).write(frame)
    assert client.total == 504 + 10 * 64


async def test_a_client_of_an_address_with_too_many_bytes_is_closed_as_slow(wire: FakeWire) -> None:
    client = Buffering(address_limit=300)
    wired = WireConnection(wire, limit=1000, metrics=Metrics().of("native"), buffering=client)
    wire.waiting = 404
    wired.write(Frame(b"x" * 400))
    assert wired.reason is None, "the caller may be going through the members of a room"
    await asyncio.sleep(0)
    assert wired.reason is SLOW
    assert wire.closed == [(4000, "slow")]
    assert client.total == 0


async def test_queued_frames_count_until_they_are_sent() -> None:
    buffering = Buffering()
    client = Client(200_000, buffering)
    client.reading.clear()
    client.connection.write(Frame(b"x" * 60_000))
    assert buffering.total == 0, "as little as this is not counted"
    client.connection.write(Frame(b"y" * 10_000))
    assert buffering.total == 70_000 + 2 * 64
    client.reading.set()
    client.connection.close(GOING_AWAY)
    await client.connection.run_writer()
    assert buffering.total == 0


async def test_queued_frames_count_no_more_after_the_end() -> None:
    buffering = Buffering()
    client = Client(200_000, buffering)
    client.connection.write(Frame(b"x" * 100_000))
    client.connection.release()
    assert buffering.total == 0
