"""Which clients are pages of RTCMultiConnection, and which packets they share."""

import pytest

from relay.config import Settings
from relay.gateways.socketio.apps.rmc3.application import Rmc3Application
from relay.model import events
from relay.model.envelope import MessageId, seal, splice

APPLICATION = Rmc3Application(Settings())


@pytest.mark.parametrize(("query", "recognised"), [({"msgEvent": "x"}, True), ({"msgEvent": ""}, True), ({}, False)])
def test_a_page_is_known_by_the_event_that_its_handshake_names(query: dict[str, str], *, recognised: bool) -> None:
    assert APPLICATION.recognises(query) is recognised
    assert APPLICATION.namespaces == ()


def message(envelope: bytes) -> events.Message:
    number = MessageId(1, 2)
    return events.Message("r", number, "ann", (), "", seal(splice(envelope, "ann"), number))


@pytest.mark.parametrize(
    ("envelope", "names"),
    [
        (b'{"event":"chat","args":[1]}', [b'"chat"']),
        (b'{"event":"user-connected","args":["x"]}', []),
        (b'{"event":"__proto__","args":[]}', []),
        (b'{"message":1}', [b'"message"']),
        (b'{"event":7.5,"args":[]}', []),
    ],
)
def test_custom_events_are_written_alike_for_all_pages(envelope: bytes, names: list[bytes]) -> None:
    assert [packet.name for packet in APPLICATION.packets(message(envelope))] == names  # type: ignore[union-attr]
    assert APPLICATION.packets(events.PresenceChange("r", MessageId(1, 3))) == ()
