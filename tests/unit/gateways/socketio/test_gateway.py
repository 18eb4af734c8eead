"""What Engine.IO clients are told when they are refused."""

import msgspec
import pytest

from relay.gateways.socketio.gateway import error_body
from relay.model.errors import Refused


@pytest.mark.parametrize(
    ("code", "body"),
    [
        ("unknown_session", b'{"code":1,"message":"Session ID unknown"}'),
        ("bad_transport", b'{"code":0,"message":"Transport unknown"}'),
        ("too_large", b""),
    ],
)
def test_what_the_reference_implementation_refuses_is_refused_in_its_words(code: str, body: bytes) -> None:
    assert error_body(Refused(code, "at length")) == body


def test_of_a_bad_request_the_relay_says_more() -> None:
    told = msgspec.json.decode(error_body(Refused("bad_query", "at length")))
    assert told == {"code": 3, "message": "Bad request", "error": {"code": "bad_query", "text": "at length"}}
