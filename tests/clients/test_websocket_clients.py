"""Plain WebSocket clients in other languages."""

import json

import pytest

from tests.clients.conftest import OpenDriven
from tests.clients.driver import WEB_SOCKET, Library
from tests.conftest import MakeRelay
from tests.fleet import Relay

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The first test of a program builds it.
    pytest.mark.timeout(1200),
    pytest.mark.parametrize("library", WEB_SOCKET, ids=lambda library: library.name),
]


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    return f"room-{abs(hash(request.node.name))}"


@pytest.mark.parametrize("size", [10, 100, 60_000, 300_000], ids=["small", "a length of two bytes", "large", "huge"])
async def test_envelopes_between_two_workers(
    workers: tuple[Relay, Relay], drive: OpenDriven, room: str, library: Library, size: int
) -> None:
    ann = await drive(library, f"{workers[0].ws}/rooms/{room}?peer=ann")
    ben = await drive(library, f"{workers[1].ws}/rooms/{room}?peer=ben")
    welcome = await ben.until("heard")
    assert welcome["type"] == "welcome"
    await ann.until("heard")
    envelope = {"sender": 1, "channel": "c", "message": "\u2603 " + "x" * size}
    for sender, receiver, name in ((ann, ben, "ann"), (ben, ann, "ben")):
        sender.tell(send=json.dumps(envelope, ensure_ascii=False))
        heard = await receiver.until("heard")
        assert {field: heard[field] for field in envelope} == envelope
        assert heard["from"] == name


async def test_pings_are_answered_and_a_stop_is_a_going_away(
    start: MakeRelay, drive: OpenDriven, room: str, library: Library
) -> None:
    relay = await start(ping_interval=0.2, ping_timeout=5, drain_timeout=1)
    client = await drive(library, f"{relay.ws}/rooms/{room}?presence=1")
    other = await drive(library, f"{relay.ws}/rooms/{room}?presence=1")
    for number in range(20):
        client.tell(send=json.dumps({"message": number}))
        while (await other.until("heard")).get("message") != number:
            pass
    await relay.terminate()
    assert await client.until("closed") == 1001
