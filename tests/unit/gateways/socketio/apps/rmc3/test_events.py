"""Names of events, those of the page among them."""

import pytest

from relay.gateways.socketio.apps.rmc3.events import DEFAULT_MESSAGE_EVENT, CustomEvents, message_event
from relay.gateways.socketio.errors import BadEvent


@pytest.mark.parametrize("name", ["", "x" * 300, "connect", "toString"])
def test_a_name_that_no_event_may_have_is_not_that_of_signals(name: str) -> None:
    assert message_event({"msgEvent": name}) == DEFAULT_MESSAGE_EVENT
    assert message_event({"msgEvent": "mine"}) == "mine"


def test_a_page_registers_so_many_events() -> None:
    events = CustomEvents({"socketCustomEvent": "first"})
    for number in range(99):
        events.add(f"e{number}", ())
    events.add("first", ())
    with pytest.raises(BadEvent, match="bad_event"):
        events.add("more", ())
    assert "more" not in events
    with pytest.raises(BadEvent, match="reserved_event"):
        events.add("open-room", ["open-room"])


def test_the_setting_decides_which_may_be_emitted() -> None:
    events = CustomEvents({"socketCustomEvent": "connect"})
    assert "connect" not in events
    events.check("x", ["*"])
    with pytest.raises(BadEvent, match="event_not_allowed"):
        events.check("x", ["y"])
