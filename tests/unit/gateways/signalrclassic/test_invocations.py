import json
from typing import Any

import pytest

from relay.gateways.signalrclassic.errors import BadInvocation
from relay.gateways.signalrclassic.hubs import ClassicHubs
from relay.gateways.signalrclassic.invocations import failed, read_invocation, result
from relay.model.commands import NO_IDENTITY
from relay.model.errors import BadFrame, Refused

HUBS = ClassicHubs(["geckoHub.sendToAll:broadcastMessage"])


def read(*arguments: Any, hub: str = "webrtchub3", method: str = "Send", **more: Any) -> Any:
    fields = {"H": hub, "M": method, "A": list(arguments), "I": 0} | more
    return read_invocation(json.dumps(fields).encode(), HUBS)


@pytest.mark.parametrize(
    ("argument", "envelope", "channel"),
    [
        ('{"channel":"c","message":[1]}', '{"channel":"c","message":[1]}', "c"),
        ({"channel": "c", "x": "é"}, '{"channel": "c", "x": "\\u00e9"}', "c"),
        ("no JSON", '{"event":"onMessageReceived","args":["no JSON"]}', ""),
        ('"text"', '{"event":"onMessageReceived","args":["\\"text\\""]}', ""),
        ('{"to":"bob"}', '{"event":"onMessageReceived","args":["{\\"to\\":\\"bob\\"}"]}', ""),
        ('{"event":1}', '{"event":"onMessageReceived","args":["{\\"event\\":1}"]}', ""),
        (None, '{"event":"onMessageReceived","args":[null]}', ""),
        ('{"message":"\\ud83d"}', '{"message":"\\ufffd"}', ""),
    ],
)
def test_the_text_of_an_object_is_an_envelope_and_any_other_value_an_event(
    argument: Any, envelope: str, channel: str
) -> None:
    command = read(argument)
    assert (command.envelope.decode(), command.channel, command.to) == (envelope, channel, ())
    assert (command.key, command.identity) == ("0", NO_IDENTITY)


def test_a_lone_surrogate_in_a_text_does_not_fail_the_call() -> None:
    assert read("cut \ud83d").envelope == b'{"event":"onMessageReceived","args":["cut \\ufffd"]}'


def test_other_hubs_call_their_clients_methods_with_any_arguments() -> None:
    command = read("room-1", {"a": 1}, hub="GECKOHUB", method="sendtoall", I="7", S={"state": 1})
    assert json.loads(command.envelope) == {"event": "broadcastMessage", "args": ["room-1", {"a": 1}]}
    assert command.key == "7"
    assert read(hub="geckohub", method="sendToAll").envelope == b'{"event":"broadcastMessage","args":[]}'


def test_a_call_without_a_number_has_no_key() -> None:
    assert read_invocation(b'{"H":"webRtcHub3","M":"send","A":["{}"]}', HUBS).key == ""


@pytest.mark.parametrize(
    ("data", "code", "text", "key"),
    [
        (b"{no JSON", "bad_json", "", ""),
        (b"\xff", "bad_json", "UTF-8", ""),
        (b"[]", "bad_command", "object", ""),
        (b'{"H":1,"M":"Send","A":[],"I":3}', "bad_command", "H", "3"),
        (b'{"H":"webrtchub3","A":[],"I":"3"}', "bad_command", "M", "3"),
        (b'{"H":"webrtchub3","M":"Send","A":{},"I":3}', "bad_command", "A", "3"),
        (b'{"H":"webrtchub3","M":"Send","A":[],"I":[]}', "bad_command", "I", ""),
        (b'{"H":"h","M":"m","A":[%b0],"I":3}' % (b"0," * 64), "bad_command", "64", "3"),
        (b'{"H":"%b","M":"m","I":3}' % (b"x" * 257), "bad_command", "256", "3"),
        (b'{"H":"<b>","M":"Send","A":[],"I":3}', "no_such_hub", "'<b>' Hub could not be resolved.", "3"),
        (b'{"H":"webrtchub3","M":"nope","A":[],"I":3}', "no_such_method", "'nope' method could not be", "3"),
        (b'{"H":"webrtchub3","M":"Send","A":[],"I":3}', "no_such_method", "'Send' method could not be", "3"),
        (b'{"H":"webrtchub3","M":"Send","A":["a","b"],"I":3}', "no_such_method", "'Send' method could", "3"),
        (b'{"H":"webrtchub3","M":"Send","A":[%b],"I":3}' % (b"[" * 300 + b"]" * 300), "bad_json", "nested", ""),
        (b'{"H":"geckohub","M":"sendToAll","A":[%b],"I":3}' % (b"[" * 254 + b"]" * 254), "", "", "3"),
    ],
)
def test_a_bad_call_gets_an_error_with_its_number(data: bytes, code: str, text: str, key: str) -> None:
    if not code:
        assert read_invocation(data, HUBS).key == key
        return
    with pytest.raises(BadFrame) as raised:
        read_invocation(data, HUBS)
    assert (raised.value.code, raised.value.key) == (code, key)
    assert text in raised.value.text


def test_results_and_errors() -> None:
    assert result("7") == b'{"I":"7"}'
    assert json.loads(failed("7", Refused("no_such_peer", peers=["a"]))) == {
        "I": "7",
        "E": Refused("no_such_peer").text,
        "H": True,
        "D": {"code": "no_such_peer", "peers": ["a"]},
    }
    # Not an exception of the hub: the original has no method to raise one.
    assert json.loads(failed("7", BadInvocation("no_such_method", "text"))) == {"I": "7", "E": "text"}
