"""The room of one namespace, beside those of the connection's other namespaces."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from relay.config import Settings
from relay.gateways.base.join_request import JoinRequest
from relay.gateways.socketio.namespace_rooms import NamespaceRooms
from relay.model.commands import Join, Move
from relay.model.errors import Refused
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import CODECS, FakeConnection


class Siblings:
    """Another namespace, which is in the room `taken`."""

    def is_in(self, room: str, besides: str = "") -> bool:
        return room == "taken" and besides == "/own"

    def count(self, besides: str) -> int:
        return 1


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    async with Worker(Settings(members_per_room=1)) as worker:
        yield worker


def rooms_of(worker: Worker, entering: str = "a") -> NamespaceRooms:
    return NamespaceRooms(
        FakeConnection(), worker, CODECS, "192.0.2.7", name="/own", entering=entering, siblings=Siblings()
    )


async def test_a_namespace_is_in_its_room_from_the_time_at_which_it_enters(worker: Worker) -> None:
    rooms = rooms_of(worker)
    assert rooms.is_in("a")
    assert not rooms.is_in("b")
    await rooms.enter(JoinRequest("a", "p"))
    assert (rooms.entering, rooms.is_in("a")) == ("", True)


async def test_a_room_of_another_namespace_is_refused_to_every_way_of_joining(worker: Worker) -> None:
    rooms = rooms_of(worker)
    with pytest.raises(Refused, match="already_joined"):
        await rooms.enter(JoinRequest("taken", "p"))
    await rooms.enter(JoinRequest("a", "p"))
    for way in (rooms.move(Move("taken", "")), rooms.join(Join("taken"))):
        with pytest.raises(Refused, match="already_joined"):
            await way
    assert rooms.is_in("a")
    assert not rooms.is_in("taken")


async def test_a_client_that_moves_is_in_both_rooms_until_it_is_in_the_new_one(worker: Worker) -> None:
    rooms = rooms_of(worker)
    await rooms.enter(JoinRequest("a", "p"))
    moving = asyncio.ensure_future(rooms.move(Move("b", "")))
    await asyncio.sleep(0)
    assert rooms.is_in("b")
    await moving
    assert (rooms.is_in("a"), rooms.is_in("b")) == (False, True)


async def test_a_room_that_refuses_is_no_longer_entered(worker: Worker) -> None:
    first, second = rooms_of(worker), rooms_of(worker)
    await first.enter(JoinRequest("a", "p"))
    with pytest.raises(Refused, match="room_full"):
        await second.enter(JoinRequest("a", "q"))
    assert not second.is_in("a")
    assert second.entering == ""
