import json
from typing import Any

import pytest

from relay.gateways.websync.bridge import from_message, to_envelope, to_notification
from relay.model.envelope import MessageId, read_envelope, seal, splice
from relay.model.events import Message
from tests.unit.gateways.websync.site import seed


def envelope(data: Any, channel: str = "/chat") -> Any:
    return json.loads(to_envelope(channel, json.dumps(data).encode(), "/chat"))


def heard(envelope: Any, *, sender: str = "bob", to: tuple[str, ...] = ()) -> tuple[str, Any]:
    text = json.dumps(envelope).encode()
    body = seal(splice(text, sender), MessageId(7, 1))
    channel, data = from_message(Message("r", MessageId(7, 1), sender, to, read_envelope(text).channel, body), "/chat")
    return channel, json.loads(data)


@pytest.mark.parametrize("channel", ["c", "", 7, 0.5, True])
def test_data_of_the_seed_is_the_envelope_of_its_text(channel: Any) -> None:
    expected = {"sender": 5, "channel": channel, "message": {"a": [None]}}
    assert envelope(seed({"a": [None]}, channel)) == expected
    where, data = heard(expected)
    assert (where, data["username"]) == ("/chat", 5)
    assert json.loads(data["text"]) == {"message": {"a": [None]}, "channel": channel}


def test_a_page_without_a_name_sends_no_sender() -> None:
    assert envelope({"text": '{"message":1,"channel":"c"}'}) == {"channel": "c", "message": 1}


@pytest.mark.parametrize(
    "data",
    [
        None, 1, "text", [], {}, {"text": "no JSON", "username": 1}, seed(1, "/slash"), seed(1, None), seed(1, {}),
        seed(1) | {"more": 1}, {"username": 1, "text": '{"message":1}'},
        {"username": 1, "text": r'{"message":1,"channel":"\/x"}'},
        {"username": 1, "text": '{"message":1,"channel":"c","to":"x"}'}, {"username": 1, "text": "[" * 300 + "]" * 300},
        seed(1, "x" * 3000), {"a": "é ☃ \U0001f600", "b": [[{}], 1.5]},
    ],
)  # fmt: skip
def test_other_data_comes_back_as_it_was(data: Any) -> None:
    sent = envelope(data)
    assert sent == {"channel": "/chat", "message": data}
    assert heard(sent) == ("/chat", data)


def test_data_on_other_channels_is_never_changed() -> None:
    assert envelope(seed(1), "/other") == {"channel": "/other", "message": seed(1)}
    assert heard({"channel": "/other", "message": seed(1)}) == ("/other", seed(1))


def test_an_envelope_with_more_fields_comes_whole() -> None:
    channel, data = heard({"message": 1, "x": [2]}, sender="a%20b")
    assert (channel, data["username"]) == ("/chat", "a b")
    assert json.loads(data["text"]) == {"message": 1, "x": [2]}


@pytest.mark.parametrize("name", ["/meta/connect", "/fm/subscribers/chat", "/service/x", "/meta/notify", "/"])
def test_no_client_speaks_on_channels_of_the_protocol(name: str) -> None:
    channel, data = heard({"channel": name, "message": {"type": "subscribe"}})
    assert channel == "/chat"
    assert json.loads(data["text"])["channel"] == name


def test_a_notification_is_a_direct_message() -> None:
    sent = to_notification(b'{"a":1}', "bob")
    assert json.loads(sent) == {"to": "bob", "channel": "/meta/notify", "message": {"a": 1}}
    assert heard(json.loads(sent), to=("bob",)) == ("/meta/notify", {"a": 1})


def test_an_envelope_on_a_channel_without_a_message_has_none() -> None:
    assert heard({"channel": "/x"}) == ("/x", None)
