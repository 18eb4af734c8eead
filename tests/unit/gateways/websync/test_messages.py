import json
from typing import Any

import pytest

from relay.gateways.websync.messages import MAX_MESSAGES, BadMessage, ClientMessage, read_messages
from relay.model.errors import Refused

GOOD = {"channel": "/chat", "id": "1"}


def read(*messages: Any) -> list[ClientMessage | BadMessage]:
    return [*read_messages(json.dumps(messages).replace("/", r"\/").encode())]


def test_a_message() -> None:
    [message] = read(
        {
            "channel": "/meta/subscribe", "id": "3", "clientId": "c", "subscription": ["/a", "/fm/subscribers/a"],
            "ext": {"fm.tag": "", "fm.sessionId": "s", "fm.ack": False}, "unknown": [1],
        }
    )  # fmt: skip
    assert isinstance(message, ClientMessage)
    assert (message.channel, message.id, message.client_id, message.session_id) == ("/meta/subscribe", "3", "c", "s")
    assert message.channels == ["/a", "/fm/subscribers/a"]
    assert (message.tag, message.acknowledges) == ("", False)


def test_the_defaults_of_a_message() -> None:
    [message] = read(GOOD)
    assert isinstance(message, ClientMessage)
    assert (message.client_id, message.session_id, message.tag, message.acknowledges) == ("", "", None, True)
    assert (message.channels, message.records) == ((), ())


def test_one_channel_or_record_needs_no_list() -> None:
    [message] = read(GOOD | {"subscription": "/a", "binding": {"key": "k", "value": 1}, "ext": {"fm.tag": 5}})
    assert isinstance(message, ClientMessage)
    assert (message.channels, [one.key for one in message.records], message.tag) == (["/a"], ["k"], "")


@pytest.mark.parametrize(
    "body",
    [b"", b"no JSON", b"{}", b"[", b"[1", b"\xff[]", b'["\xff"]', b"[" * 300 + b"]" * 300,
     b"[" + b"{}," * MAX_MESSAGES + b"{}]"],
)  # fmt: skip
def test_bodies_that_are_no_array_of_messages(body: bytes) -> None:
    with pytest.raises(Refused) as refused:
        read_messages(body)
    assert refused.value.code == "bad_json"


@pytest.mark.parametrize(
    ("fields", "known"),
    [
        ({"channel": "/" * 400}, "1"), ({"clientId": 5}, "1"), ({"clientId": "x" * 3000}, "1"), ({"ext": []}, "1"),
        ({"binding": [{"key": "k"}] * 17}, "1"), ({"binding": [{}]}, "1"), ({"subscription": [1]}, "1"),
        ({"subscription": ["/a"] * 65}, "1"), ({"supportedConnectionTypes": "x"}, "1"), ({"id": []}, None),
        ({"id": ""}, ""), ({"id": "x" * 65}, None), ({"channel": None}, None),
    ],
)  # fmt: skip
def test_a_bad_message_harms_no_other(fields: dict[str, Any], known: Any) -> None:
    bad, good = read(GOOD | fields, GOOD)
    assert isinstance(bad, BadMessage)
    assert (bad.error.code, bad.id) == ("bad_command", known)
    assert isinstance(good, ClientMessage)


@pytest.mark.parametrize("part", [1, "text", None, [], [[]]])
def test_data_that_is_no_message(part: Any) -> None:
    [bad] = read(part)
    assert isinstance(bad, BadMessage)
    assert bad.id is None


def test_half_a_surrogate_pair_is_replaced() -> None:
    [message] = read_messages(rb'[{"channel":"/chat","id":"1","clientId":"\ud83d"}]')
    assert isinstance(message, ClientMessage)
    assert message.client_id == "\ufffd"
