import json

import pytest

from relay.gateways.base.polling_rules import PollAnswer
from relay.gateways.signalrclassic.answers import AGAIN, FIRST
from relay.gateways.signalrclassic.codec import PushFrame, RefusalFrame, WelcomeFrame, ended, pushed
from relay.model.codec import NOTHING
from relay.model.envelope import MessageId
from relay.model.errors import GOING_AWAY, KICKED, REPLACED, ROOM_FULL, Refused

WELCOME = WelcomeFrame(pushed("1-1", b""), b"", "1-1")
PUSHED = PushFrame(pushed("1-2", b'{"A":1}'), b'{"A":1}', "1-2")
LATER = PushFrame(b"", b"", "1-3")
ERROR = PushFrame(b'{"I":"","E":"x"}', b'{"I":"","E":"x"}', "")


def test_a_poll_has_all_messages_and_the_newest_cursor() -> None:
    answer = PollAnswer((WELCOME, PUSHED, NOTHING, LATER, ERROR), token="0-9")
    fields = {"C": "1-3", "M": [{"A": 1}, {"I": "", "E": "x"}]}
    assert json.loads(FIRST.answer(answer).data) == fields | {"S": 1}
    assert json.loads(AGAIN.answer(answer).data) == fields
    assert json.loads(FIRST.answer(PollAnswer((), token="0-9")).data) == {"C": "0-9", "M": []}


def test_the_end_of_a_session_says_whether_to_reconnect() -> None:
    assert json.loads(AGAIN.answer(PollAnswer((PUSHED,), GOING_AWAY)).data) == {"C": "1-2", "M": [{"A": 1}], "T": 1}
    assert AGAIN.answer(PollAnswer((), KICKED)).data == ended(f"kicked: {KICKED.text}")
    assert json.loads(AGAIN.answer(PollAnswer((), REPLACED, token="1-1")).data) == {"C": "1-1", "M": []}
    refused = PollAnswer((RefusalFrame(ended("room_locked: x")),), KICKED)
    assert AGAIN.answer(refused).data == ended("room_locked: x")
    full = RefusalFrame(ended("room_full: x"), Refused("room_full"))
    answer = AGAIN.answer(PollAnswer((full,), ROOM_FULL, token="1-1"))
    assert (answer.status, json.loads(answer.data)["error"]["code"]) == (Refused("room_full").status, "room_full")
    assert AGAIN.events(PollAnswer((full,), ROOM_FULL)) == b"data: %b\r\n\r\n" % full.data


def test_the_parts_of_a_stream() -> None:
    assert FIRST.events(PollAnswer((WELCOME, PUSHED, LATER))) == (
        b'data: {"C":"1-1","S":1,"M":[]}\r\n\r\ndata: {"C":"1-2","M":[{"A":1}]}\r\n\r\n'
    )
    assert AGAIN.events(PollAnswer((WELCOME,))) == b'data: {"C":"1-1","M":[]}\r\n\r\n'
    assert AGAIN.events(PollAnswer(())) == b"data: {}\n\n"
    assert AGAIN.events(PollAnswer((), reached=MessageId(1, 9))) == b'data: {"C":"1-9","M":[]}\r\n\r\n'
    broken = PushFrame(b'{"M":[1,\r\n2,\r3]}', b"", "")
    assert AGAIN.events(PollAnswer((broken,))) == b'data: {"M":[1,\ndata: 2,\ndata: 3]}\r\n\r\n'
    assert AGAIN.events(PollAnswer((), GOING_AWAY)) == b""
    assert AGAIN.events(PollAnswer((), KICKED)) == b"data: %b\r\n\r\n" % ended(f"kicked: {KICKED.text}")
    refused = RefusalFrame(ended("banned: x"))
    assert AGAIN.events(PollAnswer((refused,), KICKED)) == b"data: %b\r\n\r\n" % refused.data


def test_posts_belong_to_no_session() -> None:
    with pytest.raises(Refused, match="bad_method"):
        AGAIN.read(b"", b"")
    assert AGAIN.posted(()).data == b""
