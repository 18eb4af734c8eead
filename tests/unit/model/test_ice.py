"""STUN and TURN servers: values of the setting, and the welcome that lists them."""

import json

import pytest

from relay.config import SettingsError, declared, load, masked
from relay.gateways.native.gateway import NativeCodec
from relay.model import events
from relay.model.envelope import MessageId
from relay.model.errors import NotAllowed
from relay.model.ice import IceOffer, IceServer, parse_ice_servers, parse_turn_url

CREDENTIALS = {"username": "u", "credential": "c"}
TURN = {"urls": ["turn:turn.example:3478?transport=udp", "turns:[2001:db8::1]"], **CREDENTIALS}


def test_urls_of_stun_servers() -> None:
    assert parse_ice_servers("") == ()
    assert parse_ice_servers("stun:a.example, stuns:b.example:5349,") == (
        IceServer("stun:a.example"),
        IceServer("stuns:b.example:5349"),
    )


def test_json_as_a_browser_takes_it() -> None:
    servers = parse_ice_servers(json.dumps([{"urls": "stun:a.example"}, TURN]))
    assert servers == (IceServer("stun:a.example"), IceServer(tuple(TURN["urls"]), "u", "c"))


STUN = IceServer("stun:stun.example:3478")


@pytest.mark.parametrize(
    ("given", "servers"),
    [
        ([{"url": "stun:stun.example:3478"}], [STUN]),
        ([{"url": "stun:old.example", "urls": "stun:stun.example:3478"}], [STUN]),
        ([{"urls": "STUN:Stun.Example:3478", "credentialType": "password", "username": None}], [STUN]),
        ([{"urls": " stun:stun.example:3478 ", "ttl": 86400, "label": ["x"]}], [STUN]),
        ({"urls": "stun:stun.example:3478"}, [STUN]),
        ({"iceServers": [{"urls": "stun:stun.example:3478"}], "iceTransportPolicy": "all"}, [STUN]),
        ({"iceServers": {"urls": ["stun:stun.example:3478"]}}, [IceServer(("stun:stun.example:3478",))]),
        (
            [{"url": "turn:t.example?transport=UDP", "urls": "TURN:t.example?transport=UDP", **CREDENTIALS}],
            [IceServer("turn:t.example?transport=udp", "u", "c")],
        ),
        ({"username": "x", "ice_servers": [{"url": "stun:stun.example:3478"}], "ttl": "86400", "sid": "AC"}, [STUN]),
        ({"v": {"iceServers": {"urls": "stun:stun.example:3478"}}, "s": "ok"}, [STUN]),
        ({"s": 200, "d": {"iceServers": [{"url": "stun:stun.example:3478"}]}, "p": "/ice", "e": None}, [STUN]),
        ([], []),
    ],
    ids=[
        "url",
        "url beside urls",
        "capitals",
        "more fields",
        "one",
        "configuration",
        "one inside",
        "turn",
        "Twilio",
        "Xirsys 3",
        "Xirsys 2",
        "none",
    ],
)
def test_json_as_turn_services_return_it(given: object, servers: list[IceServer]) -> None:
    assert list(parse_ice_servers(json.dumps(given))) == servers


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://a.example", "server 1 needs stun:HOST:PORT"),
        ("stun:", "server 1 needs stun:HOST:PORT"),
        ("stun:a.example:0", "server 1 has a port that is not a number from 1 to 65535 in its URL"),
        ("stun:a.example,stun:b.example:99999", "server 2 has a port that is not a number from 1 to 65535 in its URL"),
        ("stun:a b", "server 1 needs stun:HOST:PORT"),
        ("stun:a.example,stun://b.example", "server 2 has // behind the colon in its URL; write stun:HOST"),
        ("turn:a.example", "server 1 is a TURN server, which needs username and credential"),
        ("[{", "it is not JSON"),
        ('[{"urls": "stun:a.example"}] x', "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[1]", "server 1 is not an object"),
        ('["stun:a.example"]', "server 1 is not an object"),
        ('[{"urls": []}]', "server 1 needs urls: a text, or a list of 1 to 8 texts"),
        ('{"servers": []}', "server 1 needs urls"),
        (json.dumps([{"urls": ["stun:a.example"] * 9}]), "server 1 needs urls"),
        ('[{"urls": ["stun:a.example", 1]}]', "server 1 needs stun:HOST:PORT or turn:HOST:PORT"),
        ('[{"urls": "stun:a.example?transport=udp"}]', "server 1 has a query in its URL; browsers allow"),
        (
            '[{"urls": "turn:a.example?transport=sctp", "username": "u", "credential": "c"}]',
            "server 1 needs stun:HOST:PORT or turn:HOST:PORT?transport=udp",
        ),
        ('[{"urls": "turn:a.example", "username": "u"}]', "server 1 is a TURN server"),
        ('[{"urls": "turn:a.example", "username": 7, "credential": "c"}]', "server 1 needs a username that is text"),
        ('[{"urls": "turn:a.example", "username": "u", "credential": {}}]', "server 1 needs a credential that is text"),
        ('[{"urls": "stun:a.example", "credentialType": "oauth"}]', "server 1 has a credentialType that is not"),
        (json.dumps([{"urls": "stun:a.example"}] * 17), "a list has at most 16 servers"),
    ],
)
def test_other_values_are_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(SettingsError) as error:
        load({}, {"RELAY_ICE_SERVERS": text})
    (line,) = error.value.lines
    assert line.startswith(f"ice_servers (from RELAY_ICE_SERVERS): {reason}")
    assert "allowed: a JSON list" in line


@pytest.mark.parametrize("secret", ["hunter2", "user:hunter2@turn.example"])
def test_a_reason_shows_no_value(secret: str) -> None:
    servers = [
        {"urls": f"turn:{secret}"},
        {"urls": "turn:a.example", "username": secret},
        {"urls": "turn:a.example", "username": "u", "credential": [secret]},
        {"urls": "stun:a.example", "credentialType": secret},
    ]
    texts = [json.dumps([server]) for server in servers] + [f"stun://{secret}", f'[{{"credential":"{secret}}}']
    for text in texts:
        with pytest.raises(SettingsError) as error:
            load({}, {"RELAY_ICE_SERVERS": text})
        assert "hunter2" not in str(error.value)


def test_credentials_are_not_shown() -> None:
    (setting,) = [setting for setting in declared() if setting.name == "ice_servers"]
    assert masked(setting, json.dumps([TURN])) == "***"


@pytest.mark.parametrize("tagged", [False, True])
def test_the_welcome_alone_lists_the_servers(tagged: bool) -> None:
    codec = NativeCodec(tagged=tagged)
    offer = IceOffer(parse_ice_servers(json.dumps([{"urls": "stun:a.example"}, TURN])))
    welcome = json.loads(codec.encode(events.Welcome("room", "peer", MessageId(1, 2), "key", ice=offer)).data)
    assert welcome["iceServers"] == [{"urls": "stun:a.example"}, TURN]
    assert b"iceServers" not in codec.encode(events.Pong("room", MessageId(1, 2))).data


def test_renewed_servers_are_a_frame_of_their_own() -> None:
    frame = NativeCodec().encode(events.IceRenewed("room", IceOffer((STUN,), 60)))
    assert json.loads(frame.data) == {"type": "ice", "iceServers": [{"urls": STUN.urls}], "ttl": 60}


def test_without_servers_the_welcome_has_no_list() -> None:
    assert b"iceServers" not in NativeCodec().encode(events.Welcome("room", "peer", MessageId(1, 2), "key")).data


# TURN servers whose credentials the relay makes.


@pytest.mark.parametrize(
    "text",
    [
        "turn:t.example",
        "turn:t.example:3478?transport=tcp",
        "turns:[2001:db8::1]:5349",
        " TURN:T.Example?transport=UDP ",
    ],
)
def test_urls_of_turn_servers(text: str) -> None:
    assert parse_turn_url(text) == text.strip().lower()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "stun:t.example",
        "turn://t.example",
        "turn:user:hunter2@t.example",
        "turn:t.example?transport=sctp",
        "turn:t:0",
    ],
)
def test_other_texts_are_no_turn_servers_and_are_not_repeated(text: str) -> None:
    with pytest.raises(NotAllowed) as error:
        parse_turn_url(text)
    assert "hunter2" not in str(error.value)
