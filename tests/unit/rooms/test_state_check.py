"""Comparing this worker's rooms with Redis, after that has come back as another run."""

import asyncio
from collections.abc import Callable

import pytest

from relay.backend.presence import HeldMember
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.errors import OutcomeUnknown, Unavailable
from relay.rooms.state_check import StateCheck
from tests.unit.rooms.world import World


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_LATER", "_RETRY"):
        monkeypatch.setattr(f"relay.rooms.state_check.{name}", 0.01)


def check_of(world: World, *, dead: bool = False) -> StateCheck:
    async def has_living_workers(room: str) -> bool:
        assert room == "room"
        return not dead

    return StateCheck(world.hub, world.departures, world.bus, has_living_workers, world.tasks)


async def test_rooms_with_members_are_read_from_the_last_id_on(world: World) -> None:
    member = await world.join("a")
    await asyncio.sleep(0)
    check_of(world).begin()
    await until(lambda: not len(world.tasks))
    assert world.bus.calls.count("replay") == 1
    assert len(member.connection.sent) == 1


async def test_members_of_a_room_that_went_back_are_told(world: World) -> None:
    member = await world.join("a")
    await world.publish(member)
    await asyncio.sleep(0)
    world.backend.room("room").seq = 1
    check_of(world).begin()
    await until(lambda: len(member.connection.sent) == 2)
    assert (member.connection.sent[1]["code"], member.connection.sent[1]["reason"]) == ("messages_lost", "epoch")


async def test_a_room_with_held_members_is_compared_with_the_events_that_they_have_seen(world: World) -> None:
    member = await world.join("a")
    await world.publish(member)
    await asyncio.sleep(0)
    epoch = world.backend.room("room").epoch
    await world.membership.leave(member, hold=True)
    assert world.departures.newest_seen("room") == MessageId(epoch, 2)
    world.backend.room("room").seq = 1
    world.bus.before["replay"] = [Unavailable()]
    check_of(world).begin()
    await until(lambda: world.backend.room("room").epoch > epoch)
    assert world.bus.calls.count("replay") == 2


async def test_a_room_whose_held_members_have_gone_meanwhile_is_left_alone(world: World) -> None:
    member = await world.join("a")
    await asyncio.sleep(0)
    await world.membership.leave(member, hold=True)
    world.bus.before["replay"] = [Unavailable()]
    check_of(world).begin()
    await until(lambda: "replay" in world.bus.calls)
    await world.pass_time(20)
    await until(lambda: not len(world.tasks))
    assert world.bus.calls.count("replay") == 1
    assert world.departures.newest_seen("room") == BEFORE_ALL


async def test_a_room_with_members_of_a_dead_worker_is_not_confirmed(world: World) -> None:
    member = await world.join("a")
    await asyncio.sleep(0)
    await world.membership.leave(member, hold=True)
    check_of(world, dead=True).begin()
    await asyncio.sleep(0.05)
    assert "replay" not in world.bus.calls
    assert len(world.tasks) == 1
    await world.pass_time(20)
    await until(lambda: not len(world.tasks))
    assert "replay" not in world.bus.calls


async def test_a_room_with_a_member_that_was_taken_over_is_not_vouched_for(world: World) -> None:
    member = await world.join("a")
    await asyncio.sleep(0)
    await world.membership.leave(member, hold=True)
    assert world.departures.newest_seen("room") == member.since
    world.departures.take_over([HeldMember("room", "b", 1, 9.0)])
    assert world.departures.newest_seen("room") == BEFORE_ALL


async def test_clients_that_wait_for_the_comparison_do_not_keep_a_room_from_it(world: World) -> None:
    member = await world.join("a")
    await asyncio.sleep(0)
    await world.membership.leave(member, hold=True)
    world.rooms.stage(world.member("b"))
    world.presence.before["join"] = [OutcomeUnknown()]
    with pytest.raises(OutcomeUnknown):
        await world.join("c")
    assert world.departures.newest_seen("room") == member.since
    check_of(world).begin()
    await until(lambda: not len(world.tasks))
    assert world.bus.calls.count("replay") == 1
