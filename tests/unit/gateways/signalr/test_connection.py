"""The events that a client has got, by the bytes that the system has sent."""

import asyncio

from relay.gateways.base.join_request import JoinRequest
from relay.gateways.signalr.client import HubClient
from relay.gateways.signalr.codec import RoomEventFrame, codecs_of
from relay.gateways.signalr.connection import HubConnection, Marks
from relay.gateways.signalr.places import Proof
from relay.gateways.signalr.protocols import JSON_PROTOCOL
from relay.gateways.signalr.settings import SignalRSettings
from relay.model.codec import Batch, Frame
from relay.model.envelope import MessageId
from relay.model.errors import GOING_AWAY, KICKED, CloseReason
from relay.rooms.connection import Transfer


class Inner:
    """A connection whose other end has received so many bytes."""

    lost = False

    def __init__(self) -> None:
        self.reason: CloseReason | None = None
        self.data = b""
        self.received = 0
        self.before = 1000

    def write(self, frame: Frame) -> None:
        self.data += frame.wire

    def write_batch(self, batch: Batch) -> None:
        self.data += batch.wire

    def close(self, reason: CloseReason) -> None:
        self.reason = reason

    def pause_reading(self, *, paused: bool) -> None: ...

    def transfer(self) -> Transfer:
        return Transfer(self.before + len(self.data), self.before + self.received)


class Bytes:
    """The system's knowledge of a connection."""

    lost = False

    def __init__(self, known: Transfer | None) -> None:
        self.known = known

    def transfer(self) -> Transfer | None:
        return self.known


def client() -> HubClient:
    found = HubClient(codecs_of(SignalRSettings()), Proof(), JoinRequest("room"))
    found.protocol = JSON_PROTOCOL
    return found


def event(number: int) -> RoomEventFrame:
    return RoomEventFrame(b'{"type":1}\x1e', MessageId(1, number), is_text=True)


async def test_events_have_arrived_when_their_bytes_have() -> None:
    inner = Inner()
    connection = HubConnection(inner, client())
    connection.write(Frame(b"{}\x1e"))
    assert connection.received() is None
    ends = []
    for number in (1, 2):
        connection.write(event(number))
        ends.append(len(inner.data))
    connection.write_batch(Batch([event(3), event(4)]))
    ends.append(len(inner.data))
    for received, expected in ((ends[0] - 1, None), (ends[0], 1), (ends[1], 2), (ends[2] - 1, 2), (ends[2], 4)):
        inner.received = received
        assert connection.received() == (None if expected is None else MessageId(1, expected))


async def test_bytes_of_the_server_itself_are_noticed_after_a_while() -> None:
    inner = Inner()
    marks = Marks(inner, every=0)
    inner.data += b"ping"
    marks.add(MessageId(1, 1), 0)
    inner.received = 3
    assert marks.received() is None
    inner.received = 4
    assert marks.received() == MessageId(1, 1)


async def test_a_client_that_answers_the_close_has_got_everything() -> None:
    inner = Inner()
    connection = HubConnection(inner, client())
    connection.closed_by_both()
    connection.write(event(1))
    connection.closed_by_both()
    assert connection.received() == MessageId(1, 1)


async def test_where_nothing_is_known_the_event_before_counts_as_arrived() -> None:
    marks = Marks(Bytes(None), every=0)
    marks.add(MessageId(1, 1), 0)
    assert marks.received() is None
    marks.add(MessageId(1, 2), 0)
    assert marks.received() == MessageId(1, 1)


async def test_an_event_that_is_written_when_the_connection_has_ended_says_nothing_of_those_before() -> None:
    """The write that finds the connection broken ends it: the system tells no more, until that is reported."""
    counts = Bytes(Transfer(10, 0))
    marks = Marks(counts, every=0)
    marks.add(MessageId(1, 1), 10)
    counts.known = None
    marks.add(MessageId(1, 2), 20)
    assert marks.received() is None
    counts.known = Transfer(10, 10)
    assert marks.received() == MessageId(1, 1)


async def test_an_event_for_a_client_that_is_gone_has_not_arrived() -> None:
    """The server may read the bytes before the end, and drops all writes meanwhile."""

    class Lost(Inner):
        def write(self, frame: Frame) -> None:
            if not self.lost:
                super().write(frame)

    inner = Lost()
    connection = HubConnection(inner, client())
    inner.lost = True
    connection.write(event(1))
    inner.received = len(inner.data)
    assert connection.received() is None


async def test_a_client_is_told_why_it_is_closed() -> None:
    await asyncio.sleep(0)
    for reason, words in (
        (GOING_AWAY, b'{"type":7,"allowReconnect":true}\x1e'),
        (KICKED, b'{"type":7,"error":"kicked: ' + KICKED.text.encode() + b'"}\x1e'),
    ):
        inner = Inner()
        connection = HubConnection(inner, client())
        connection.write(Frame(b"{}\x1e"))
        connection.close(reason)
        connection.close(reason)
        connection.write(Frame(b"late"))
        connection.write_batch(Batch([event(1)]))
        assert inner.data == Frame(b"{}\x1e").wire + Frame(words).wire
        assert inner.reason is reason


async def test_before_the_handshake_is_answered_the_end_is_its_refusal() -> None:
    inner, one = Inner(), client()
    connection = HubConnection(inner, one)
    connection.write(Frame(b""))
    connection.close(GOING_AWAY)
    assert inner.data == Frame(b'{"error":"going_away: ' + GOING_AWAY.text.encode() + b'"}\x1e').wire
