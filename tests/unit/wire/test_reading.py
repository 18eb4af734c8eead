"""Frames that no session limits: their rate, and the bytes that wait."""

import asyncio
import tracemalloc
from dataclasses import replace

import pytest

from relay.wire import reading
from relay.wire.notices import LimitNotices
from relay.wire.websocket import WebSocketProtocol
from tests.unit.wire.fakes import FakeReceiver, FakeTransport, masked, protocol_of


def fragments(count: int, data: bytes = b"xy") -> bytes:
    """The beginning of a text message in many fragments."""
    return masked(0x01, data) + masked(0x00, data) * (count - 1)


async def test_fragments_keep_no_more_memory_than_their_payload() -> None:
    transport, receiver = FakeTransport(), FakeReceiver()
    limits = protocol_of(transport, receiver, rate=1e9)._limits
    protocol = WebSocketProtocol(transport, replace(limits, max_size=300_000), receiver)
    tracemalloc.start()
    try:
        protocol.data_received(fragments(30_000))
        while not transport.reading:
            await asyncio.sleep(0)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert limits.unfinished.total == 60_000
    assert kept < 600_000  # a list of the fragments takes 1.2 MB
    protocol.data_received(masked(0x80, b"z"))
    assert receiver.texts == [b"xy" * 30_000 + b"z"]
    assert limits.unfinished.total == 0


@pytest.mark.parametrize(
    "flood", [masked(0x89, b"") * 500, masked(0x8A, b"x") * 500, fragments(500, b""), fragments(500)]
)
async def test_a_flood_of_small_frames_is_read_no_faster_than_its_rate(flood: bytes) -> None:
    transport, receiver = FakeTransport(), FakeReceiver()
    noted: list[str] = []
    limits = protocol_of(transport, receiver, rate=100)._limits
    protocol = WebSocketProtocol(transport, replace(limits, notices=LimitNotices(noted.append)), receiver)
    protocol.address = "1.2.3.4"
    protocol.data_received(flood)
    for _ in range(30):
        await asyncio.sleep(0)
    assert not transport.reading
    assert noted == ["small_frames"]
    assert len(protocol._unread) > 300
    assert protocol._is_alive()
    # The rate does not bind a connection that is gone: frames that it sent too fast are dropped.
    transport.closing = True
    protocol.connection_lost(None)
    assert receiver.ended == [1006]
    assert protocol._unread == b""


async def test_a_rest_ends_and_the_frames_behind_the_flood_are_read() -> None:
    transport, receiver = FakeTransport(), FakeReceiver()
    protocol = protocol_of(transport, receiver, rate=1000)
    protocol.data_received(masked(0x8A, b"") * 1050 + masked(0x81, b"later"))
    assert receiver.texts == []
    async with asyncio.timeout(10):
        while not (receiver.texts and transport.reading):
            await asyncio.sleep(0.01)
    assert transport.reading
    assert receiver.texts == [b"later"]


@pytest.mark.parametrize("data", [b"", b"ping", b"x" * 125])
async def test_a_pong_needs_no_parser_between_texts(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    transport, receiver = FakeTransport(), FakeReceiver()
    protocol = protocol_of(transport, receiver)
    monkeypatch.setattr(reading, "FrameParser", None)
    protocol.ping()
    protocol.data_received(masked(0x81, b"one") + masked(0x8A, data) * 2 + masked(0x81, b"two"))
    assert (receiver.texts, protocol._unread, protocol._is_alive()) == ([b"one", b"two"], b"", True)


@pytest.mark.parametrize("size", [1, 5, 6, 7, 12])
async def test_a_pong_in_pieces_and_one_between_fragments_are_read(size: int) -> None:
    transport, receiver = FakeTransport(), FakeReceiver()
    protocol = protocol_of(transport, receiver)
    pong = masked(0x8A, b"payload")
    sent = pong + masked(0x01, b"a") + pong + masked(0x80, b"b") + pong + masked(0x81, b"c")
    for at in range(0, len(sent), size):
        protocol.data_received(sent[at : at + size])
    assert (receiver.texts, protocol._parser, transport.written) == ([b"ab", b"c"], None, b"")


@pytest.mark.parametrize(
    "pong", [b"\x8a\x04ping", b"\x8a\xfe\0\x7e" + b"\0" * 130, b"\xca\x80\0\0\0\0", b"\x0a\x80\0\0\0\0"]
)
async def test_a_pong_without_a_mask_or_too_long_or_with_other_bits_is_a_violation(pong: bytes) -> None:
    transport, receiver = FakeTransport(), FakeReceiver()
    protocol_of(transport, receiver).data_received(pong)
    assert (receiver.ended, transport.written[:4]) == ([1002], b"\x88\x10\x03\xea")


async def test_a_connection_that_rests_when_it_is_lost_ends_at_once() -> None:
    transport, receiver = FakeTransport(), FakeReceiver()
    protocol = protocol_of(transport, receiver, rate=10)
    protocol.data_received(masked(0x8A, b"") * 1000)
    assert not transport.reading
    protocol.connection_lost(None)
    assert receiver.ended == [1006]


async def test_frames_that_wait_while_a_connection_is_paused_are_counted() -> None:
    transport, receiver = FakeTransport(), FakeReceiver()
    protocol = protocol_of(transport, receiver)
    unfinished = protocol._limits.unfinished
    protocol.pause_reading(paused=True)
    protocol.data_received(masked(0x81, b"x" * 100) * 1000)
    assert unfinished.total > 90_000
    assert not protocol.arriving
    protocol.give_up()
    assert (unfinished.total, receiver.ended) == (0, [4006])
    protocol.give_up()
    assert transport.aborted
