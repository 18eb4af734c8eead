"""What a session of Engine.IO begins with."""

import base64
import math
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from relay.config import Settings
from relay.gateways.socketio.client import RecoveryClaim, greeting, read_claim
from relay.model.envelope import MessageId


def greeted(**settings: Any) -> Any:
    engine: Any = SimpleNamespace(
        worker=SimpleNamespace(settings=Settings(**settings)), sid="s", polls=True, largest=16 * 1024
    )
    return msgspec.json.decode(greeting(engine).data[1:])


def test_times_are_in_milliseconds() -> None:
    told = greeted(ping_interval=0.3, ping_timeout=20)
    assert (told["sid"], told["upgrades"]) == ("s", ["websocket"])
    assert (told["pingInterval"], told["pingTimeout"]) == (300, 20_000)


@pytest.mark.parametrize("size", [1, 2, 100, 700])
def test_a_payload_that_clients_take_for_small_enough_is(size: int) -> None:
    head, attachments = b'51-["e",{"_placeholder":true,"num":0}]', b"b" + base64.b64encode(bytes(size))
    # As clients count: 4/3 of what is binary is 1.33 of it, and a type goes before each packet.
    counted = len(head) + 1 + math.ceil(size * 1.33) + 1 + 2
    times = greeted()["maxPayload"] // counted
    assert len(b"\x1e".join([b"4" + head, attachments] * times)) <= 16 * 1024


@pytest.mark.parametrize(
    ("offset", "read", "room"),
    [
        ({}, None, "home"),
        ({"offset": None}, None, "home"),
        ({"offset": "7-8"}, MessageId(7, 8), "home"),
        ({"offset": "7-8@there"}, MessageId(7, 8), "there"),
        ({"offset": "7-8@a@b"}, MessageId(7, 8), "a@b"),
    ],
)
def test_claims(offset: dict[str, Any], read: MessageId | None, room: str) -> None:
    claim = read_claim({"pid": "ann.secret.5-6"} | offset, "home")
    assert claim == RecoveryClaim("ann", "secret", MessageId(5, 6), read, room)


@pytest.mark.parametrize(
    "auth",
    [
        {},
        {"pid": 5},
        {"pid": "ann.secret"},
        {"pid": "{}.secret.5-6"},
        {"pid": "ann.secret.5"},
        {"pid": "ann.secret.5-6", "offset": "7"},
        {"pid": "ann.secret.5-6", "offset": "there"},
        {"pid": "ann.secret.5-6", "offset": "7-8@{}"},
        {"pid": "ann.secret.5-6", "offset": "7-8@" + "x" * 129},
    ],
)
def test_what_the_relay_never_gave_is_no_claim(auth: dict[str, Any]) -> None:
    assert read_claim(auth, "home") is None
