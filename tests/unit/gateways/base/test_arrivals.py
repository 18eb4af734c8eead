"""Which message has arrived last, by the bytes of a connection."""

from relay.gateways.base.arrivals import Arrivals, CountedConnection
from relay.model.envelope import MessageId
from relay.model.errors import GOING_AWAY
from relay.rooms.connection import Transfer
from tests.unit.gateways.base.fakes import FakeConnection


class Bytes:
    """The bytes of a connection; None once it is closing."""

    def __init__(self) -> None:
        self.transfer: Transfer | None = Transfer(0, 0)

    def __call__(self) -> Transfer | None:
        return self.transfer


def an_id(number: int) -> MessageId:
    return MessageId(1, number)


def test_a_message_has_arrived_when_its_bytes_have() -> None:
    counts = Bytes()
    arrivals = Arrivals(counts)
    assert arrivals.newest() is None
    for number, written in ((1, 10), (2, 25), (3, 30)):
        counts.transfer = Transfer(written, 0)
        arrivals.mark(an_id(number))
    assert arrivals.newest() is None
    counts.transfer = Transfer(30, 26)
    assert arrivals.newest() == an_id(2)
    counts.transfer = Transfer(30, 30)
    assert arrivals.newest() == an_id(3)


def test_nothing_more_arrives_when_the_connection_closes() -> None:
    counts = Bytes()
    arrivals = Arrivals(counts)
    counts.transfer = Transfer(10, 0)
    arrivals.mark(an_id(1))
    counts.transfer = None
    assert arrivals.newest() is None


def test_a_message_that_is_written_to_a_connection_that_closes_says_nothing_of_those_before() -> None:
    counts = Bytes()
    arrivals = Arrivals(counts)
    counts.transfer = Transfer(10, 0)
    arrivals.mark(an_id(1))
    counts.transfer = None
    arrivals.mark(an_id(2))
    assert arrivals.newest() is None


def test_where_bytes_are_not_known_all_messages_but_the_last_one_have_arrived() -> None:
    counts = Bytes()
    counts.transfer = None
    arrivals = Arrivals(counts)
    arrivals.mark(an_id(1))
    assert arrivals.newest() is None
    for number in (2, 3):
        arrivals.mark(an_id(number))
        assert arrivals.newest() == an_id(number - 1)


def test_the_messages_that_came_last_are_remembered() -> None:
    counts = Bytes()
    arrivals = Arrivals(counts)
    for number in range(1, 101):
        counts.transfer = Transfer(number, 0)
        arrivals.mark(an_id(number))
    counts.transfer = Transfer(100, 3)
    assert arrivals.newest() is None
    counts.transfer = Transfer(100, 100)
    assert arrivals.newest() == an_id(100)


class Counting(FakeConnection):
    """A connection whose bytes are counted; nothing is known of one that is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Bytes()

    def transfer(self) -> Transfer | None:
        return self.counts() if self.reason is None else None


def test_a_connection_knows_after_its_close_how_much_had_arrived_before() -> None:
    inner = Counting()
    connection = CountedConnection(inner)
    for number, written in ((1, 10), (2, 25), (3, 30)):
        inner.counts.transfer = Transfer(written, 0)
        connection.mark(an_id(number))
    inner.counts.transfer = Transfer(30, 26)
    connection.close(GOING_AWAY)
    inner.counts.transfer = Transfer(30, 30)
    assert (connection.reason, connection.received()) == (GOING_AWAY, an_id(2))


def test_a_client_that_has_gone_by_the_time_of_the_mark_has_read_what_arrived_there() -> None:
    """A busy worker may stand still between the write and the mark, while the client reads and loses its connection."""
    inner = Counting()
    connection = CountedConnection(inner)
    inner.lost, inner.counts.transfer = True, Transfer(10, 10)
    connection.mark(an_id(1))
    assert connection.received() == an_id(1)
    # Written to a client that had gone: these bytes never arrive.
    inner.counts.transfer = Transfer(20, 10)
    connection.mark(an_id(2))
    assert connection.received() == an_id(1)


def test_of_a_lost_connection_without_counted_bytes_nothing_more_has_arrived() -> None:
    inner = Counting()
    connection = CountedConnection(inner)
    inner.lost, inner.counts.transfer = True, None
    for number in (1, 2):
        connection.mark(an_id(number))
    assert connection.received() is None


def test_a_message_for_a_connection_that_is_closed_or_lost_tells_nothing_of_those_before() -> None:
    for end in ("closed", "lost"):
        inner = Counting()
        connection = CountedConnection(inner)
        inner.counts.transfer = Transfer(10, 0)
        connection.mark(an_id(1))
        if end == "closed":
            connection.close(GOING_AWAY)
        else:
            inner.lost, inner.counts.transfer = True, None
        connection.mark(an_id(2))
        assert connection.received() is None
