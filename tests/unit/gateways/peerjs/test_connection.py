from relay.gateways.peerjs.codec import MessageFrame
from relay.gateways.peerjs.connection import PeerConnection
from relay.model.codec import NOTHING, Batch, Frame
from relay.model.envelope import MessageId
from relay.model.errors import GOING_AWAY
from relay.rooms.connection import Transfer
from tests.unit.gateways.base.fakes import FakeConnection


class Counting(FakeConnection):
    """Counts the bytes of all frames; `got` of them have arrived. After the end, nothing is known."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.got = 0

    def write(self, frame: Frame) -> None:
        super().write(frame)
        self.bytes += len(frame.data)

    def transfer(self) -> Transfer | None:
        return Transfer(self.bytes, self.got) if self.reason is None else None


def frame(number: int) -> MessageFrame:
    return MessageFrame(b"%d" % number, MessageId(1, number))


def test_messages_count_when_their_bytes_have_arrived() -> None:
    inner = Counting()
    connection = PeerConnection(inner)
    assert connection.received() is None
    connection.write(Frame(b"0"))
    for number in (1, 2, 3):
        connection.write(frame(number))
    assert connection.received() is None
    inner.got = 3
    assert connection.received() == MessageId(1, 2)
    connection.write_batch(Batch([frame(4), frame(5)]))
    inner.got = 6
    assert connection.received() == MessageId(1, 5)
    assert inner.events == [0, 1, 2, 3, 4, 5]


def test_the_arrived_signals_are_known_after_a_close() -> None:
    inner = Counting()
    connection = PeerConnection(inner)
    for number in (1, 2):
        connection.write(frame(number))
    inner.got = 1
    connection.close(GOING_AWAY)
    inner.got = 2
    assert (connection.received(), connection.reason, connection.transfer()) == (MessageId(1, 1), GOING_AWAY, None)
    connection.write(frame(3))
    assert connection.received() == MessageId(1, 1)


def test_few_messages_are_remembered_and_empty_frames_not_written() -> None:
    inner = Counting()
    connection = PeerConnection(inner)
    connection.write(NOTHING)
    assert inner.events == []
    for number in range(100, 200):
        connection.write(frame(number))
    inner.got = 3
    assert connection.received() is None
    inner.got = 300
    assert connection.received() == MessageId(1, 199)
    connection.pause_reading(paused=True)
    assert (inner.paused, connection.lost) == ([True], False)
