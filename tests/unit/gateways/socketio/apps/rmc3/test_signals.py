"""Messages of a room, as pages write and read them."""

import pytest
from msgspec import Raw

from relay.gateways.socketio.apps.rmc3.signals import (
    Notice,
    PageSignal,
    extra_changed,
    notice,
    read_content,
    read_extra_changed,
    read_notice,
    read_signal,
)
from relay.model.errors import BadFrame


def signal(message: bytes) -> PageSignal:
    fields = {"remoteUserId": Raw(b'"ben"'), "message": Raw(message), "sender": Raw(b'"forged"')}
    return PageSignal("ben", fields, read_content(fields))


def test_a_signal_is_written_for_its_receiver_and_read_with_the_vouched_sender() -> None:
    publish = signal(b'{"type":"offer"}').envelope("a%20b", "ben", b'{"n":1}')
    assert (publish.to, publish.channel) == (("ben",), "rmc")
    found = read_signal(publish.envelope, "other", "b%20c")
    assert found is not None
    _, fields = found
    assert {name: bytes(value) for name, value in fields.items()} == {
        "remoteUserId": b'"b c"',
        "message": b'{"type":"offer"}',
        "sender": b'"other"',
        "extra": b'{"n":1}',
    }


@pytest.mark.parametrize(
    ("message", "asks", "leaves"),
    [
        (b'{"newParticipationRequest":true}', True, False),
        (b'{"userLeft":true,"autoCloseEntireSession":false}', False, True),
        (b'"dropPeerConnection"', False, False),
        (b"null", False, False),
    ],
)
def test_the_meaning_of_a_signal(message: bytes, *, asks: bool, leaves: bool) -> None:
    one = signal(message)
    assert (one.asks_to_join, one.says_goodbye) == (asks, leaves)


@pytest.mark.parametrize(
    "envelope", [b"{}", b'{"message":1}', b'{"message":{"x":1}}', b'{"message":{"message":null}}', b"[]"]
)
def test_other_messages_are_no_signals(envelope: bytes) -> None:
    assert read_signal(envelope, "ann", "ben") is None


def test_notices_and_extra_data() -> None:
    assert read_notice(notice(Notice(parted=True), "ben").envelope) == Notice(parted=True)
    assert read_notice(b'{"message":7}') == Notice()
    assert read_extra_changed(extra_changed(b'{"n":1}').envelope) == b'{"n":1}'
    assert read_extra_changed(b"{}") == b""
    assert read_extra_changed(b"[]") == b""


def test_a_signal_that_nests_too_deep_is_refused() -> None:
    with pytest.raises(BadFrame, match="bad_json"):
        signal(b"[" * 300 + b"]" * 300).envelope("ann", "ben")
