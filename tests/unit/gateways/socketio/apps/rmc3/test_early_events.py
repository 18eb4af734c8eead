"""Events that wait until their page is in its room again, without a page."""

from relay.gateways.socketio.apps.rmc3.early_events import MOST, EarlyEvents
from relay.gateways.socketio.parser import IncomingEvent


def test_early_events_are_limited_by_their_number() -> None:
    early = EarlyEvents(1000)
    for _ in range(MOST + 1):
        early.hold(IncomingEvent("x", [b"1"]))
    assert len(early.take()) == MOST
    assert early.take() == []


def test_the_bytes_of_all_events_are_limited() -> None:
    early = EarlyEvents(10)
    for data in (b"12345", b"1234567", b"1234"):
        early.hold(IncomingEvent("x", [data]))
    assert [event.data for event in early.take()] == [b"12345", b"1234"]


def test_nothing_waits_that_was_dropped() -> None:
    early = EarlyEvents(10)
    early.hold(IncomingEvent("x", [b"1"]))
    early.drop()
    assert early.take() == []
