"""The connection of a client of an application with state: which message has arrived last, as far as is known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from relay.gateways.socketio.application_connection import ApplicationConnection
from relay.gateways.socketio.codec import NOTHING, EventFrame
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.errors import GOING_AWAY, KICKED, PONG_TIMEOUT, REPLACED, CloseReason
from relay.model.events import Message
from relay.rooms.connection import Transfer
from tests.unit.gateways.socketio.clients import FakeConnection, engine


class Counted:
    """A session of which so many bytes were written and received; None once it is closing."""

    def __init__(self) -> None:
        self.connection = FakeConnection()
        self.counts: Transfer | None = Transfer(10, 0)
        self.worker: Any = None

    def transfer(self) -> Transfer | None:
        return self.counts

    def pause_reading(self, *, paused: bool) -> None:
        pass


def message(number: int) -> EventFrame:
    return EventFrame(Message("r", MessageId(1, number), "ann", (), "", b"{"), lambda _event: NOTHING)


def shown_by(shared: Counted) -> ApplicationConnection:
    namespaces = SimpleNamespace(
        closed=lambda connection, reason: None,
        has_entered=lambda name: False,
        encoder=lambda name: SimpleNamespace(disconnect=lambda: NOTHING),
    )
    shown = ApplicationConnection(cast("Any", namespaces), cast("Any", shared), "/")
    shown.take = lambda _event: False
    shown.begin_room(counts=True)
    shown.write(message(2))
    return shown


async def test_a_message_counts_when_its_bytes_have_arrived() -> None:
    shared = Counted()
    shown = shown_by(shared)
    assert (shown.received(), shown.transfer()) == (None, Transfer(10, 0))
    shared.counts = Transfer(10, 10)
    assert shown.received() == MessageId(1, 2)


@pytest.mark.parametrize("reason", [GOING_AWAY, KICKED, REPLACED])
async def test_a_close_of_the_relay_makes_no_message_arrive(reason: CloseReason) -> None:
    shared = Counted()
    shown = shown_by(shared)
    shown.close(reason)
    shared.counts = None
    # The relay drops it.
    shown.write(message(3))
    assert shown.received() is None


async def test_the_messages_that_had_arrived_before_a_close_are_known_after_it() -> None:
    shared = Counted()
    shown = shown_by(shared)
    shared.counts = Transfer(10, 10)
    shown.close(GOING_AWAY)
    shared.counts = None
    assert shown.received() == MessageId(1, 2)


@pytest.mark.parametrize("how", ["closing", "lost"])
async def test_a_message_that_a_closing_connection_drops_does_not_arrive(how: str) -> None:
    shared = Counted()
    shown = shown_by(shared)
    shared.counts = None
    if how == "lost":
        shared.connection.lost = True
    else:
        shared.connection.close(PONG_TIMEOUT)
    for number in (3, 4):
        shown.write(message(number))
    assert shown.received() is None


async def test_messages_of_the_room_before_do_not_count() -> None:
    shared = Counted()
    shown = shown_by(shared)
    shared.counts = Transfer(10, 10)
    shown.begin_room(counts=True)
    assert shown.received() is None


class Socket(FakeConnection):
    """A WebSocket of which `got` bytes have arrived; nothing is known of one that the relay closes."""

    def __init__(self) -> None:
        super().__init__()
        self.got = 0

    def transfer(self) -> Transfer | None:
        return None if self.reason else Transfer(sum(map(len, self.written)), self.got)


async def test_a_session_counts_its_polls_and_its_websocket_together() -> None:
    async with engine() as one:
        session = one.polling()
        assert session.polling is not None
        session.connection.write(Frame(b"4polled"))
        await session.polling.poll()
        session.connection.write(Frame(b"4kept"))
        assert session.transfer() == Transfer(12, 0)
        socket = Socket()
        # The probe.
        socket.write(Frame(b"3probe"))
        session.upgraded(socket)
        assert session.transfer() == Transfer(12, 7)
        socket.got = 10
        assert session.transfer() == Transfer(12, 7)
        socket.got = 11
        assert session.transfer() == Transfer(12, 12)
        session.connection.write(Frame(b"4new"))
        assert session.transfer() == Transfer(16, 12)
        socket.got = 15
        assert session.transfer() == Transfer(16, 16)
        session.connection.close(PONG_TIMEOUT)
        assert session.transfer() is None
