import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.bus.redis import decode
from relay.envelope import MessageId
from relay.events import Joined, Left, Message, TakenOver

ID = MessageId(7, 8)


@pytest.mark.parametrize(
    ("payload", "event"),
    [
        (b'm 7-8 p \n""\n{"a":1', Message("r", ID, "p", (), "", b'{"a":1')),
        (b'm 7-8 p q,r\n"c\\n"\n{"a":\n1', Message("r", ID, "p", ("q", "r"), "c\n", b'{"a":\n1')),
        (b"j 7-8 p", Joined("r", ID, "p")),
        (b"l 7-8 p", Left("r", ID, "p")),
        (b"t 7-8 p 9", TakenOver("r", ID, "p", 9)),
    ],
)
def test_payloads_and_the_events_they_are(payload: bytes, event: object) -> None:
    assert decode("r", payload) == event


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: b"m 1-1 " + tail))
def test_a_payload_from_elsewhere_is_a_value_error_at_worst(payload: bytes) -> None:
    with contextlib.suppress(ValueError):
        decode("r", payload)
