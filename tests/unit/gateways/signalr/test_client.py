import asyncio

from relay.gateways.base.join_request import JoinRequest
from relay.gateways.signalr.client import HubClient
from relay.gateways.signalr.codec import codecs_of
from relay.gateways.signalr.places import Proof
from relay.gateways.signalr.protocols import PACKED_PROTOCOL
from relay.gateways.signalr.settings import SignalRSettings
from relay.model.errors import GOING_AWAY, KICKED, Refused


def client() -> HubClient:
    return HubClient(codecs_of(SignalRSettings()), Proof(), JoinRequest("room"))


async def test_a_handshake_that_is_late_is_noticed_unless_it_came() -> None:
    one, late = client(), asyncio.Event()
    one.await_handshake(0.0, late.set)
    async with asyncio.timeout(5):
        await late.wait()
    other = client()
    other.await_handshake(0.0, lambda: late.clear())
    other.stop_waiting()
    other.stop_waiting()
    await asyncio.sleep(0.01)
    assert late.is_set()


def test_a_refused_client_hears_nothing_more() -> None:
    one = client()
    assert one.refusal(Refused("bad_room", "no")).data == b'{"error":"bad_room: no"}\x1e'
    assert one.last_words(KICKED) is None


def test_the_last_words_are_of_the_protocol() -> None:
    one = client()
    one.protocol, one.greeted = PACKED_PROTOCOL, True
    words = one.last_words(GOING_AWAY)
    assert words is not None
    assert (words.data, words.is_text) == (b"\x04\x93\x07\xc0\xc3", False)
    one.fault = "bad_packet: why"
    words = one.last_words(KICKED)
    assert words is not None
    assert b"bad_packet: why" in words.data
    one.left = True
    assert one.last_words(KICKED) is None
