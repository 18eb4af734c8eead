"""The responses to polls and posts of Engine.IO."""

import pytest

from relay.gateways.base.http import HttpBody
from relay.gateways.base.polling_rules import PollAnswer
from relay.gateways.socketio.packets import FRAMINGS, Version, attachment
from relay.gateways.socketio.payload_writer import PayloadWriter
from relay.model.codec import Frame
from relay.model.errors import GOING_AWAY

A, B = Frame(b"4a"), Frame(b"4b")


@pytest.mark.parametrize(
    ("answer", "payload"),
    [
        (PollAnswer([A, B]), b"4a\x1e4b"),
        (PollAnswer([A, attachment(b"\1", 4)]), b"4a\x1ebAQ=="),
        (PollAnswer([]), b"6"),
        (PollAnswer([A], GOING_AWAY), b"4a\x1e1"),
        (PollAnswer([], GOING_AWAY), b"1"),
    ],
    ids=["frames", "attachment", "noop", "last frames", "close"],
)
def test_an_answer_is_a_payload_that_is_never_empty(answer: PollAnswer, payload: bytes) -> None:
    assert PayloadWriter(FRAMINGS[4]).answer(answer) == HttpBody(payload, b"text/plain; charset=UTF-8")


@pytest.mark.parametrize("version", [2, 3])
def test_a_binary_payload_has_its_media_type(version: Version) -> None:
    body = PayloadWriter(FRAMINGS[version]).answer(PollAnswer([A]))
    assert (body.data, body.media_type) == (b"\0\x02\xff4a", b"application/octet-stream")


def test_a_post_is_accepted_as_the_version_does() -> None:
    assert PayloadWriter(FRAMINGS[4]).posted([]) == HttpBody(b"ok", b"text/html")
    assert PayloadWriter(FRAMINGS[4], accepted=HttpBody(b"1")).posted([]) == HttpBody(b"1")
