import pytest

from relay.gateways.base.plain_envelope import channel_of


@pytest.mark.parametrize(
    ("data", "channel"),
    [
        (b'{"channel":"c","message":[1],"sender":"x"}', "c"),
        (b'{"channel":7}', "7"),
        (b'{"channel":{"deep":1}}', ""),
        (b"{}", ""),
        (b'{"channel":"%b"}' % (b"c" * 2049), None),
        *((b'{"%b":1}' % name, None) for name in (b"type", b"from", b"id", b"room", b"to", b"key", b"event")),
        (b'{"message":' + b"[" * 300 + b"]" * 300 + b"}", None),
        (b"[]", None),
        (b'"text"', None),
        (b"{", None),
        (b"", None),
    ],
)
def test_an_object_without_fields_of_the_relay_is_an_envelope(data: bytes, channel: str | None) -> None:
    assert channel_of(data) == channel
