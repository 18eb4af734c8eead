"""What a session of Engine.IO begins with."""

import base64
import math
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from relay.config import Settings
from relay.gateways.socketio.clients import greeting


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
