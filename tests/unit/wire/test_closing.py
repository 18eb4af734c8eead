"""The closing handshake, and half-closed streams."""

import asyncio
from typing import Any

import pytest

from relay.wire.closing import half_close
from tests.unit.wire.fakes import FakeReceiver, FakeTransport, masked, protocol_of


class LeavingReceiver(FakeReceiver):
    """A receiver whose client has left its rooms when `left` is done."""

    def __init__(self) -> None:
        super().__init__()
        self.left: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def disconnected(self, code: int, relay_closed: str | None) -> Any:
        super().disconnected(code, relay_closed)
        return self.left


async def test_half_closing_is_for_streams_that_can_and_are_open() -> None:
    transport = FakeTransport()
    half_close(transport)
    assert transport.ended
    for attribute in ("tls", "closing"):
        transport = FakeTransport()
        setattr(transport, attribute, True)
        half_close(transport)
        assert not transport.ended


async def test_closing_twice_sends_one_close_frame() -> None:
    transport = FakeTransport()
    protocol = protocol_of(transport, FakeReceiver())
    protocol.close(4000, "slow")
    protocol.close(4001, "pong_timeout")
    assert transport.written == b"\x88\x06\x0f\xa0slow"
    assert protocol.write(b"too late") == 0
    protocol.ping()
    protocol.check()
    protocol.data_received(masked(0x81, b"after the close"))
    assert transport.written == b"\x88\x06\x0f\xa0slow"


@pytest.mark.parametrize("late", [False, True])
async def test_a_close_is_answered_when_the_client_has_left_its_rooms_or_the_time_is_over(
    late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.wire.limits.CLOSE_TIMEOUT", 0.05 if late else 60)
    transport, receiver = FakeTransport(), LeavingReceiver()
    protocol = protocol_of(transport, receiver)
    protocol.data_received(b"\x88\x82" + bytes(4) + b"\x03\xe8")
    assert (receiver.ended, transport.written, transport.closing) == ([1000], b"", False)
    if not late:
        receiver.left.set_result(None)
    async with asyncio.timeout(5):
        await transport.wrote.wait()
    assert (transport.written, transport.closing) == (b"\x88\x02\x03\xe8", True)
    protocol.connection_lost(None)
    assert not protocol.lost
