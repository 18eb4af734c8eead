"""STUN and TURN servers: values of the setting, and the welcome that lists them."""

import json

import pytest

from relay.config import SettingsError, declared, load, masked
from relay.gateways.native.gateway import NativeCodec
from relay.model import events
from relay.model.envelope import MessageId
from relay.model.ice import IceServer, parse_ice_servers

TURN = {"urls": ["turn:turn.example:3478?transport=udp", "turns:[2001:db8::1]"], "username": "u", "credential": "c"}


def test_urls_of_stun_servers() -> None:
    assert parse_ice_servers("") == ()
    assert parse_ice_servers("stun:a.example, stuns:b.example:5349,") == (
        IceServer("stun:a.example"),
        IceServer("stuns:b.example:5349"),
    )


def test_json_as_a_browser_takes_it() -> None:
    servers = parse_ice_servers(json.dumps([{"urls": "stun:a.example"}, TURN]))
    assert servers == (IceServer("stun:a.example"), IceServer(tuple(TURN["urls"]), "u", "c"))


@pytest.mark.parametrize(
    "text",
    [
        "https://a.example",
        "stun:",
        "stun:a b",
        "stun://a.example",
        "turn:a.example",
        "[{",
        "[1]",
        '[{"urls": []}]',
        '[{"urls": "stun:a.example?transport=udp"}]',
        '[{"urls": "turn:a.example?transport=sctp", "username": "u", "credential": "c"}]',
        '[{"urls": "turn:a.example", "username": "u"}]',
        '[{"url": "stun:a.example"}]',
        json.dumps([{"urls": "stun:a.example"}] * 17),
        '[{"urls": "stun:a.example"}] x',
    ],
)
def test_other_values_are_refused(text: str) -> None:
    with pytest.raises(SettingsError) as error:
        load({}, {"RELAY_ICE_SERVERS": text})
    (line,) = error.value.lines
    assert line.startswith("ice_servers (from RELAY_ICE_SERVERS): *** is not allowed; allowed: a JSON list")


def test_credentials_are_not_shown() -> None:
    (setting,) = [setting for setting in declared() if setting.name == "ice_servers"]
    assert masked(setting, json.dumps([TURN])) == "***"


@pytest.mark.parametrize("tagged", [False, True])
def test_the_welcome_alone_lists_the_servers(tagged: bool) -> None:
    codec = NativeCodec(parse_ice_servers(json.dumps([{"urls": "stun:a.example"}, TURN])), tagged=tagged)
    welcome = json.loads(codec.encode(events.Welcome("room", "peer", MessageId(1, 2), "key")).data)
    assert welcome["iceServers"] == [{"urls": "stun:a.example"}, TURN]
    assert b"iceServers" not in codec.encode(events.Pong("room", MessageId(1, 2))).data


def test_without_servers_the_welcome_has_no_list() -> None:
    assert b"iceServers" not in NativeCodec().encode(events.Welcome("room", "peer", MessageId(1, 2), "key")).data
