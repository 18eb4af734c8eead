"""Events that wait until their page is in its room again, without a page."""

import pytest

from relay.gateways.socketio.apps.rmc3.early_events import MOST, EarlyEvents
from relay.gateways.socketio.errors import SocketIORefused
from relay.gateways.socketio.parser import IncomingEvent
from relay.logs import LogIntervals


def test_an_event_above_their_number_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    early = EarlyEvents(1000, LogIntervals(60))
    for _ in range(MOST):
        early.hold(IncomingEvent("x", [b"1"]))
    for _ in range(2):
        with pytest.raises(SocketIORefused, match="not_back"):
            early.hold(IncomingEvent("x", [b"1"]))
    assert len(early.take()) == MOST
    assert early.take() == []
    assert caplog.text.count("not_back") == 1


def test_all_pages_together_have_few_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    lines = LogIntervals(60)
    for _ in range(3):
        with pytest.raises(SocketIORefused):
            EarlyEvents(0, lines).hold(IncomingEvent("x", [b"1"]))
    assert len(caplog.records) == 1


def test_the_bytes_of_all_events_are_limited() -> None:
    early = EarlyEvents(10, LogIntervals(60))
    early.hold(IncomingEvent("x", [b"12345"]))
    with pytest.raises(SocketIORefused):
        early.hold(IncomingEvent("x", [b"1234567"]))
    early.hold(IncomingEvent("x", [b"1234"]))
    assert [event.data for event in early.take()] == [b"12345", b"1234"]
