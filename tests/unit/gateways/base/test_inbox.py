"""The inbox: which requests wait, in which order, and when reading pauses."""

import pytest

from relay.gateways.base.inbox import Inbox, Request, weight
from relay.model.commands import Ping
from tests.unit.gateways.base.fakes import FakeConnection

A, B = Ping(key="a"), Ping(key="b")


def take(inbox: Inbox) -> Request | None:
    """Take out the next request that can be served now."""
    found = inbox.peek()
    if found is None:
        return None
    inbox.drop()
    return found[0]


@pytest.fixture
def connection() -> FakeConnection:
    return FakeConnection()


@pytest.fixture
def inbox(connection: FakeConnection) -> Inbox:
    return Inbox(connection, max_in_flight=2)


def test_an_idle_inbox_serves_at_once_and_holds_nothing(inbox: Inbox, connection: FakeConnection) -> None:
    assert inbox.is_idle()
    assert not inbox.must_wait()
    assert take(inbox) is None
    assert inbox.waiting is None
    inbox.resume_reading()
    assert connection.paused == []


def test_requests_wait_in_order_while_an_exclusive_command_runs(inbox: Inbox, connection: FakeConnection) -> None:
    inbox.exclusive = True
    assert inbox.must_wait()
    inbox.put(A, 1)
    inbox.put(B, 2)
    assert take(inbox) is None
    inbox.exclusive = False
    assert not inbox.is_idle()
    assert [take(inbox), take(inbox), take(inbox)] == [A, B, None]
    assert inbox.is_idle()


def test_requests_wait_while_the_most_publishes_are_in_flight(inbox: Inbox) -> None:
    inbox.in_flight = 1
    assert not inbox.must_wait()
    assert not inbox.is_idle()
    inbox.in_flight = 2
    assert inbox.must_wait()
    inbox.put(A, 1)
    assert take(inbox) is None
    inbox.in_flight = 1
    assert take(inbox) is A


def test_no_request_overtakes_one_that_waits(inbox: Inbox) -> None:
    inbox.exclusive = True
    inbox.put(A, 1)
    inbox.exclusive = False
    assert inbox.must_wait()
    inbox.put(B, 2)
    assert [take(inbox), take(inbox)] == [A, B]
    assert not inbox.must_wait()


def test_reading_pauses_with_the_first_request_and_resumes_after_the_last(
    inbox: Inbox, connection: FakeConnection
) -> None:
    inbox.exclusive = True
    inbox.put(A, 1)
    inbox.put(B, 2)
    assert connection.paused == [True, True]
    inbox.exclusive = False
    take(inbox)
    inbox.resume_reading()
    assert connection.paused == [True, True]
    take(inbox)
    inbox.resume_reading()
    assert connection.paused == [True, True, False]
    inbox.resume_reading()
    assert connection.paused == [True, True, False]
    assert inbox.waiting is None


def test_reading_that_was_stopped_does_not_resume(inbox: Inbox, connection: FakeConnection) -> None:
    inbox.exclusive = True
    inbox.put(A, 1)
    inbox.stop_reading()
    inbox.put(B, 2)
    inbox.exclusive = False
    assert [take(inbox), take(inbox)] == [A, B]
    inbox.resume_reading()
    assert connection.paused == [True] * 4


def test_cleared_requests_are_not_served(inbox: Inbox, connection: FakeConnection) -> None:
    inbox.exclusive = True
    inbox.put(A, 1)
    inbox.clear()
    inbox.exclusive = False
    assert inbox.is_idle()
    assert take(inbox) is None
    inbox.resume_reading()
    assert connection.paused == [True]


def test_a_request_waits_with_its_size(inbox: Inbox) -> None:
    inbox.exclusive = True
    inbox.put(A, 1)
    inbox.put(B, 2)
    assert inbox.peek() is None
    inbox.exclusive = False
    assert [inbox.peek(), inbox.peek()] == [(A, 1)] * 2
    inbox.drop()
    assert inbox.peek() == (B, 2)


def test_a_large_publish_counts_as_several() -> None:
    assert [weight(size) for size in (0, 16_383, 16_384, 65_536, 1_000_000)] == [1, 1, 2, 5, 62]
