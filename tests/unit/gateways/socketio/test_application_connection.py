"""The connection of a client of an application with state: which message has arrived last, as far as is known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from relay.gateways.socketio.application_connection import ApplicationConnection
from relay.gateways.socketio.codec import NOTHING, EventFrame
from relay.model.envelope import MessageId
from relay.model.events import Message
from relay.rooms.connection import Transfer
from tests.unit.gateways.socketio.clients import FakeConnection


def shown_by(connection: FakeConnection) -> ApplicationConnection:
    shown = ApplicationConnection(cast("Any", None), cast("Any", SimpleNamespace(connection=connection)), "/")
    shown.take = lambda _event: False
    shown.begin_room(counts=True)
    shown.write(EventFrame(Message("r", MessageId(1, 2), "ann", (), "", b"{"), lambda _event: NOTHING))
    return shown


class Lost(FakeConnection):
    """A connection on which a write has failed, and which has not reported its end yet."""

    lost = True

    def transfer(self) -> Transfer | None:
        return None


@pytest.mark.parametrize(("connection", "expected"), [(FakeConnection(), MessageId(1, 2)), (Lost(), None)])
async def test_nothing_has_arrived_over_a_connection_that_is_lost(
    connection: FakeConnection, expected: MessageId | None
) -> None:
    assert shown_by(connection).received() == expected


async def test_messages_of_the_room_before_do_not_count() -> None:
    shown = shown_by(FakeConnection())
    assert shown.received() is not None
    shown.begin_room(counts=True)
    assert shown.received() is None
