"""The connection of a SIP session."""

from relay.gateways.sip.codec import UnwrittenEvent
from relay.gateways.sip.connection import SipConnection
from relay.model.codec import Batch, Frame
from relay.model.envelope import MessageId
from relay.model.errors import GOING_AWAY
from relay.model.events import Event, Pong
from relay.rooms.connection import Transfer
from tests.unit.gateways.sip.fakes import QueueConnection


def test_events_are_taken_and_frames_are_written() -> None:
    inner, taken = QueueConnection(), list[Event]()
    connection = SipConnection(inner)
    event = UnwrittenEvent(Pong("room", None))
    connection.write(event)
    connection.take = taken.append
    connection.write_batch(Batch([event, Frame(b"written")]))
    assert taken == [event.event]
    assert inner.frames.get_nowait() == "written"
    assert inner.frames.empty()


class Counting(QueueConnection):
    """A connection of which so many bytes were written, and received."""

    counts: Transfer | None = Transfer(0, 0)

    def transfer(self) -> Transfer | None:
        return self.counts


def test_the_last_message_that_arrived_is_known_also_after_the_close() -> None:
    inner = Counting()
    connection = SipConnection(inner)
    assert connection.received() is None
    for number, written in ((1, 10), (2, 25), (3, 30)):
        inner.counts = Transfer(written, 0)
        connection.mark(MessageId(7, number))
    inner.counts = Transfer(30, 26)
    assert connection.received() == MessageId(7, 2)
    inner.counts = Transfer(30, 30)
    connection.close(GOING_AWAY)
    inner.counts = None
    assert connection.received() == MessageId(7, 3)
    connection.mark(MessageId(7, 4))
    assert connection.received() == MessageId(7, 3)
