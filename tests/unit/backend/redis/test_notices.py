"""Room notices as the scripts publish them."""

import pytest

from relay.backend.redis.bus import decode
from relay.backend.redis.notices import read_notice
from relay.model.envelope import MessageId
from relay.model.events import Kicked, Message, Moved, RoomClosed, RulesChanged
from relay.model.rules import RoomRules

AT = MessageId(1, 2)


@pytest.mark.parametrize(
    ("body", "event"),
    [
        (
            b"rules boss v=5 l=1 p=ab s=cd",
            RulesChanged("r", AT, RoomRules(locked=True, password=True), "boss", "v=5 l=1 p=ab s=cd"),
        ),
        (b"rules - v=5", RulesChanged("r", AT, RoomRules(), "", "v=5")),
        (b'kicked - p 7 "go \\"now\\""', Kicked("r", AT, "p", 'go "now"', 7)),
        (b'closed - ""', RoomClosed("r", AT, "")),
        (b"move - other *", Moved("r", AT, "other")),
        (b"move - other a,b", Moved("r", AT, "other", ("a", "b"))),
    ],
)
def test_a_notice_is_read(body: bytes, event: object) -> None:
    assert read_notice("r", AT, body) == event
    assert decode("r", b'm 1-2 $server $room\n"" \n' + body) == event


@pytest.mark.parametrize(
    "body", [b"", b"what - ever", b"kicked - p", b"closed - 7", b"closed - {", b"move - a b c", b"\xff"]
)
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):
        read_notice("r", AT, body)


def test_a_member_may_not_be_called_like_the_receiver_of_notices() -> None:
    assert isinstance(decode("r", b'm 1-2 p q\n"" \n{"a":1'), Message)
