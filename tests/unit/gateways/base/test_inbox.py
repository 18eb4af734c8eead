"""The inbox: which frames wait, in which order, and when reading pauses."""

import pytest

from relay.gateways.base.inbox import Inbox
from relay.model.codec import Frame
from tests.unit.gateways.base.fakes import FakeReading

A, B, C = Frame(b"a"), Frame(b"b"), Frame(b"c")


@pytest.fixture
def reading() -> FakeReading:
    return FakeReading()


@pytest.fixture
def inbox(reading: FakeReading) -> Inbox:
    return Inbox(reading, max_in_flight=2)


def test_an_idle_inbox_serves_at_once_and_holds_nothing(inbox: Inbox, reading: FakeReading) -> None:
    assert inbox.is_idle()
    assert not inbox.must_wait()
    assert inbox.take() is None
    assert inbox.frames is None
    inbox.resume_reading()
    assert reading.asked == []


def test_frames_wait_in_order_while_an_exclusive_command_runs(inbox: Inbox, reading: FakeReading) -> None:
    inbox.exclusive = True
    assert inbox.must_wait()
    inbox.put(A)
    inbox.put(B)
    assert inbox.take() is None
    inbox.exclusive = False
    assert not inbox.is_idle()
    assert [inbox.take(), inbox.take(), inbox.take()] == [A, B, None]
    assert inbox.is_idle()


def test_frames_wait_while_the_most_publishes_are_in_flight(inbox: Inbox) -> None:
    inbox.in_flight = 1
    assert not inbox.must_wait()
    assert not inbox.is_idle()
    inbox.in_flight = 2
    assert inbox.must_wait()
    inbox.put(A)
    assert inbox.take() is None
    inbox.in_flight = 1
    assert inbox.take() is A


def test_no_frame_overtakes_one_that_waits(inbox: Inbox) -> None:
    inbox.exclusive = True
    inbox.put(A)
    inbox.exclusive = False
    assert inbox.must_wait()
    inbox.put(B)
    assert [inbox.take(), inbox.take()] == [A, B]
    assert not inbox.must_wait()


def test_reading_pauses_with_the_first_frame_and_resumes_after_the_last(inbox: Inbox, reading: FakeReading) -> None:
    inbox.exclusive = True
    inbox.put(A)
    inbox.put(B)
    assert reading.asked == [True, True]
    inbox.exclusive = False
    inbox.take()
    inbox.resume_reading()
    assert reading.asked == [True, True]
    inbox.take()
    inbox.resume_reading()
    assert reading.asked == [True, True, False]
    inbox.resume_reading()
    assert reading.asked == [True, True, False]
    assert inbox.frames is None


def test_reading_that_was_stopped_does_not_resume(inbox: Inbox, reading: FakeReading) -> None:
    inbox.exclusive = True
    inbox.put(A)
    inbox.stop_reading()
    inbox.put(B)
    inbox.exclusive = False
    assert [inbox.take(), inbox.take()] == [A, B]
    inbox.resume_reading()
    assert reading.asked == [True] * 4


def test_what_is_cleared_is_not_served(inbox: Inbox, reading: FakeReading) -> None:
    inbox.exclusive = True
    inbox.put(A)
    inbox.clear()
    inbox.exclusive = False
    assert inbox.is_idle()
    assert inbox.take() is None
    inbox.resume_reading()
    assert reading.asked == [True]
