"""The wait for the first poll of a session."""

import asyncio

import pytest

from relay.gateways.socketio.first_poll import MAX_EARLY, FirstPoll
from relay.gateways.socketio.packets import MESSAGE, BadPacket, EnginePacket


async def test_calls_come_ahead_of_packets_and_all_in_their_order() -> None:
    happened: list[object] = []
    first = FirstPoll(60, lambda: happened.append("given up"), max_size=100)
    packets = [EnginePacket(MESSAGE, b"one"), EnginePacket(MESSAGE, b"two")]
    for packet in packets:
        first.keep(packet)
    first.call(lambda: happened.append("entered"))
    first.come(happened.append)
    assert happened == ["entered", *packets]


async def test_a_client_that_does_not_poll_is_given_up_unless_its_session_ends_first() -> None:
    given_up = asyncio.Event()
    ended = FirstPoll(0.01, lambda: pytest.fail("the session has ended"), max_size=100)
    ended.cancel()
    FirstPoll(0.02, given_up.set, max_size=100)
    async with asyncio.timeout(5):
        await given_up.wait()


async def test_packets_are_bounded_in_number_and_in_bytes() -> None:
    first = FirstPoll(60, lambda: None, max_size=100)
    for _ in range(MAX_EARLY):
        first.keep(EnginePacket(MESSAGE, b""))
    with pytest.raises(BadPacket):
        first.keep(EnginePacket(MESSAGE, b""))
    first.cancel()
    first = FirstPoll(60, lambda: None, max_size=100)
    first.keep(EnginePacket(MESSAGE, b"x" * 100))
    with pytest.raises(BadPacket):
        first.keep(EnginePacket(MESSAGE, b"x"))
    first.cancel()
