"""Large messages of several connections: one at a time, in the order of each connection."""

import asyncio
from typing import Any

from relay.model.codec import Frame
from relay.rooms.keepalive import Keepalive, KeepaliveTiming
from relay.rooms.large_messages import LARGE, LargeMessages
from relay.rooms.throttle import Throttle
from relay.wire.limits import WireLimits
from relay.wire.websocket import WebSocketProtocol
from tests.unit.wire.fakes import FakeReceiver, FakeTransport, masked

_SECONDS = 0.002


class SlowReceiver(FakeReceiver):
    """A session that takes some time for each large message, by the clock of `limits`."""

    now = 0.0

    def received(self, frame: Frame) -> None:
        super().received(frame)
        if len(frame.data) >= LARGE:
            SlowReceiver.now += _SECONDS


def limits(**options: Any) -> WireLimits:
    timing, throttle = KeepaliveTiming(25, 20, 25), Throttle()
    large = LargeMessages(lambda: SlowReceiver.now, lambda: SlowReceiver.now)
    return WireLimits(200_000, 1000, Keepalive(timing), throttle, set(), large=large, **options)


def large_frame(first: int, size: int = LARGE, letter: bytes = b"x") -> bytes:
    return bytes([first, 0xFF]) + size.to_bytes(8, "big") + bytes(4) + letter * size


class Connection:
    """A WebSocket with its transport and its receiver."""

    def __init__(self, shared: WireLimits, address: str = "here") -> None:
        self.transport, self.receiver = FakeTransport(), SlowReceiver()
        self.protocol = WebSocketProtocol(self.transport, shared, self.receiver)
        self.protocol.address = address

    @property
    def sizes(self) -> list[int]:
        return [len(text) for text in self.receiver.texts]


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def test_the_first_large_messages_of_many_connections_are_not_served_in_one_turn() -> None:
    shared = limits()
    connections = [Connection(shared) for _ in range(5)]
    for one in connections:
        one.protocol.data_received(large_frame(0x81) + masked(0x81, b"behind"))
    assert [one.sizes for one in connections] == [[LARGE, 6], [], [], [], []]
    assert [one.transport.reading for one in connections] == [True] + [False] * 4
    assert shared.unfinished.total == 4 * LARGE
    small = Connection(shared)
    small.protocol.data_received(masked(0x81, b"small"))
    assert small.receiver.texts == [b"small"]
    await until(lambda: all(one.transport.reading for one in connections))
    assert [one.sizes for one in connections] == [[LARGE, 6]] * 5
    assert shared.unfinished.total == 0


async def test_nothing_overtakes_a_large_message_of_its_connection() -> None:
    shared = limits()
    Connection(shared).protocol.data_received(large_frame(0x81))
    one = Connection(shared)
    # The first half in a frame of its own, and a text behind the message in the same bytes, and in later ones.
    start = large_frame(0x01, LARGE // 2, b"a")
    one.protocol.data_received(start + large_frame(0x80, LARGE // 2, b"b") + masked(0x81, b"c") + masked(0x89, b"p"))
    one.protocol.data_received(masked(0x81, b"d"))
    one.protocol.data_received(large_frame(0x82, LARGE, b"e") + masked(0x88, b"\x03\xe8"))
    assert one.receiver.texts == []
    await until(lambda: one.receiver.ended)
    assert [text[:1] for text in one.receiver.texts] == [b"a", b"c", b"d", b"e"]
    assert one.receiver.ended == [1000]
    assert shared.unfinished.total == 0


async def test_a_message_that_waits_is_served_after_the_end_of_its_connection() -> None:
    shared = limits()
    Connection(shared).protocol.data_received(large_frame(0x81))
    one = Connection(shared)
    one.protocol.data_received(large_frame(0x81) + masked(0x81, b"last"))
    one.transport.closing = True
    one.protocol.connection_lost(None)
    assert one.receiver.ended == []
    await until(lambda: one.receiver.ended)
    assert one.sizes == [LARGE, 4]
    assert one.receiver.ended == [1006]
    assert shared.unfinished.total == 0


async def test_a_message_that_waits_is_dropped_when_the_relay_ends_its_connection() -> None:
    shared = limits()
    Connection(shared).protocol.data_received(large_frame(0x81))
    aborted, given_up = Connection(shared), Connection(shared)
    for one in (aborted, given_up):
        one.protocol.data_received(large_frame(0x81))
    aborted.protocol.abort()
    aborted.protocol.connection_lost(None)
    given_up.protocol.give_up()
    assert shared.unfinished.total == 0
    last = Connection(shared)
    last.protocol.data_received(large_frame(0x81))
    await until(lambda: last.sizes)
    assert aborted.sizes == given_up.sizes == []
    assert [aborted.receiver.ended, given_up.receiver.ended] == [[1006], [4006]]


async def test_a_text_that_is_not_utf8_closes_its_connection_in_its_turn() -> None:
    shared = limits()
    Connection(shared).protocol.data_received(large_frame(0x81))
    one = Connection(shared)
    one.protocol.data_received(large_frame(0x81, LARGE, b"\xff"))
    await until(lambda: one.receiver.ended)
    assert one.sizes == []
    assert b"\x03\xef" in one.transport.written
