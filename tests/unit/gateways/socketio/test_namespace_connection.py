"""The connection of one namespace: its packets, and the one by which it closes."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from relay.config import Settings
from relay.gateways.socketio.encoders import ModernEncoder
from relay.gateways.socketio.namespace_connection import NamespaceConnection
from relay.model.codec import NOTHING, Batch, Frame
from relay.model.errors import GOING_AWAY, KICKED, REPLACED, CloseReason
from relay.rooms.worker import Worker
from tests.unit.gateways.socketio.test_namespaces import Shared


class Owner:
    """The namespaces of a client, which keep the closed ones."""

    def __init__(self, *, entered: bool) -> None:
        self.entered = entered
        self.ended: list[CloseReason] = []
        self.encoder: Any = partial(ModernEncoder, 4)

    def has_entered(self, name: str) -> bool:
        return self.entered

    def closed(self, connection: NamespaceConnection, reason: CloseReason) -> None:
        self.ended.append(reason)


async def test_frames_go_to_the_shared_connection_until_the_namespace_is_closed() -> None:
    async with Worker(Settings()) as worker:
        shared, owner = Shared(worker), Owner(entered=True)
        connection = NamespaceConnection(owner, shared, "/a")
        connection.write(Frame(b"1"))
        connection.write(NOTHING)
        connection.write_batch(Batch([Frame(b"2"), Frame(b"3")]))
        connection.close(GOING_AWAY)
        connection.write(Frame(b"4"))
        assert shared.written == ["1", "2", "3"]
        assert owner.ended == [GOING_AWAY]


@pytest.mark.parametrize(
    ("reason", "entered", "written"),
    [(KICKED, True, ["41/a,"]), (KICKED, False, []), (REPLACED, False, ["41/a,"]), (GOING_AWAY, True, [])],
)
async def test_a_client_that_is_put_out_is_told_not_to_come_back(
    reason: CloseReason, entered: bool, written: list[str]
) -> None:
    async with Worker(Settings()) as worker:
        shared, owner = Shared(worker), Owner(entered=entered)
        NamespaceConnection(owner, shared, "/a").close(reason)
        assert shared.written == written
