import asyncio

from relay.codec import Frame
from relay.connection import Connection
from relay.errors import GOING_AWAY, REPLACED, SLOW
from relay.metrics import Metrics


class Client:
    """The other end: takes frames while `reading` is set."""

    def __init__(self, limit: int = 100) -> None:
        self.reading = asyncio.Event()
        self.reading.set()
        self.got: list[bytes] = []
        self.closed = None
        self.aborted = asyncio.Event()
        self.metrics = Metrics()
        self.connection = Connection(
            send=self._send, send_close=self._close, abort=self.aborted.set, limit=limit, metrics=self.metrics
        )

    async def _send(self, frame: Frame) -> None:
        reading = asyncio.create_task(self.reading.wait())
        aborted = asyncio.create_task(self.aborted.wait())
        await asyncio.wait([reading, aborted], return_when=asyncio.FIRST_COMPLETED)
        reading.cancel()
        aborted.cancel()
        if self.aborted.is_set():
            raise ConnectionResetError
        self.got.append(frame.data)

    async def _close(self, reason) -> None:
        self.closed = reason


async def test_frames_go_out_in_order_and_a_close_comes_after_them() -> None:
    client = Client()
    for number in range(5):
        client.connection.write(Frame(b"%d" % number))
    client.connection.close(GOING_AWAY)
    client.connection.close(REPLACED)
    client.connection.write(Frame(b"too late"))
    await client.connection.run_writer()
    assert client.got == [b"0", b"1", b"2", b"3", b"4"]
    assert client.closed is GOING_AWAY
    client.connection.gone()
    assert not client.aborted.is_set()


async def test_a_reader_past_its_limit_is_closed_and_what_waits_for_it_is_dropped() -> None:
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
    client.connection.gone()


async def test_a_reader_that_is_stuck_is_cut_off_a_second_later(monkeypatch) -> None:
    monkeypatch.setattr("relay.connection.CLOSE_TIMEOUT", 0.05)
    client = Client(limit=100)
    client.reading.clear()
    client.connection.write(Frame(b"x"))
    writer = asyncio.create_task(client.connection.run_writer())
    client.connection.close(GOING_AWAY)
    await asyncio.wait_for(writer, 5)
    assert client.aborted.is_set()
    assert client.closed is None


async def test_what_was_written_is_no_longer_counted() -> None:
    client = Client(limit=100)
    writer = asyncio.create_task(client.connection.run_writer())
    for _ in range(50):
        client.connection.write(Frame(b"x" * 90))
        while client.connection._bytes:
            await asyncio.sleep(0)
    assert client.connection.reason is None
    writer.cancel()


async def test_closes_are_counted_by_reason() -> None:
    client = Client()
    client.connection.close(SLOW)
    assert client.metrics.registry.get_sample_value("relay_closed_connections_total", {"reason": "slow"}) == 1
    client.connection.gone()
