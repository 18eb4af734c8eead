import json
from typing import Any

import pytest

from relay.config import Settings
from relay.gateways.base.join_request import CodecPair, JoinRequest
from relay.gateways.signalrclassic.codec import HubCodec, PushFrame, RefusalFrame, WelcomeFrame, ended, pushed
from relay.gateways.signalrclassic.hubs import ClassicHubs
from relay.gateways.signalrclassic.sockets import ClassicConnection, SocketSession, keepalive
from relay.model.codec import NOTHING, Frame
from relay.model.envelope import MessageId
from relay.model.errors import GOING_AWAY, KICKED, NOT_ADMITTED
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import FakeConnection

WELCOME = WelcomeFrame(pushed("1-1", b""), b"", "1-1")


def over(inner: Any, *, first: bool) -> ClassicConnection:
    return ClassicConnection(inner, first=first)


@pytest.mark.parametrize("first", [True, False])
def test_only_a_new_client_waits_for_the_frame_that_begins_it(first: bool) -> None:
    inner = FakeConnection()
    one = over(inner, first=first)
    one.write(NOTHING)
    one.write(WELCOME)
    assert inner.events == [{"C": "1-1", "M": []} | ({"S": 1} if first else {})]


def test_a_client_is_told_once_that_it_is_not_to_come_back() -> None:
    inner = FakeConnection()
    over(inner, first=True).close(KICKED)
    assert ([event["E"].partition(":")[0] for event in inner.events], inner.reason) == (["kicked"], KICKED)
    inner = FakeConnection()
    one = over(inner, first=True)
    one.write(RefusalFrame(ended("room_locked: x")))
    one.close(NOT_ADMITTED)
    one.close(KICKED)
    assert inner.events == [{"E": "room_locked: x", "M": []}]
    inner = FakeConnection()
    over(inner, first=True).close(GOING_AWAY)
    assert (inner.events, inner.reason) == ([], GOING_AWAY)


def test_a_sign_of_life_moves_the_cursor_past_events_for_others() -> None:
    inner = FakeConnection()
    one = over(inner, first=True)
    one.write(PushFrame(pushed("1-4", b"{}"), b"{}", "1-4"))
    for newest in (None, MessageId(1, 4), MessageId(1, 9), MessageId(1, 9)):
        one.write_keepalive(newest)
    assert inner.events[1:] == [{}, {}, {"C": "1-9", "M": []}, {}]


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1006])
async def test_a_close_is_no_goodbye(code: int) -> None:
    async with Worker(Settings()) as worker:
        inner, timer, codec = FakeConnection(), keepalive(), HubCodec(ClassicHubs([]), ())
        ticket = worker.admit("here", "signalr-classic")
        one = SocketSession(over(inner, first=True), worker, CodecPair(codec, codec), ticket, timer)
        key = "0123456789abcdef"
        await one.enter(lambda: JoinRequest("room", "peer", key, own_key=True))
        one.ping()
        one.check()
        one.received(Frame(json.dumps({"H": "webrtchub3", "M": "nope", "A": [], "I": 5}).encode()))
        assert inner.events[1:] == [{}, {"I": "5", "E": "'nope' method could not be resolved."}]
        one.disconnected(code, None)
        worker.disconnects.finish()
        [member] = (await worker.roster("room")).members
        assert member.held
