"""Upkeep over memory: departures, subscriptions and renewals, round by round."""

import asyncio

import pytest

from relay.backend.bus import BusHealth
from relay.backend.headroom import Headroom
from relay.backend.presence import HeldMember
from relay.fleet_key import FleetKey
from relay.model.errors import Unavailable
from relay.rooms.health import HealthMonitor
from relay.rooms.renewal import RoomRenewal
from relay.rooms.upkeep import Upkeep
from tests.unit.rooms.test_renewal import FakeLeases
from tests.unit.rooms.world import World


class FakeBus:
    def health(self) -> BusHealth:
        return BusHealth(ready=True, reachable=True, heard=0.0)


class UpkeepWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.leases = FakeLeases()
        self.health = HealthMonitor(
            FakeBus(),
            FleetKey(),
            headroom=Headroom(),
            uses_redis=True,
            deaf_limit=10,
            on_deaf=lambda: None,
            clock=lambda: self.now,
            metrics=self.metrics,
        )
        self.upkeep = self.make_upkeep(lambda: self.now, 0.5)

    def make_upkeep(self, clock, interval: float, *, rounds: float = 3000) -> Upkeep:
        renewal = RoomRenewal(self.rooms, self.departures, self.leases, rounds=rounds, metrics=self.metrics)
        return Upkeep(
            self.departures, self.subscriptions, renewal, self.copies, self.health, interval=interval, clock=clock
        )


@pytest.fixture
def world() -> UpkeepWorld:
    return UpkeepWorld()


async def test_a_round_settles_due_members_and_leaves_rooms_without_members(world: UpkeepWorld) -> None:
    lost = await world.join("a")
    await world.membership.leave(lost, hold=True)
    await world.upkeep.work()
    assert await world.roster() == [("a", True)]
    assert world.bus.calls == ["subscribe", "unsubscribe"]
    assert world.leases.touched == []
    assert world.metric("relay_held_members") == 1
    world.now += 15
    await world.upkeep.work()
    assert await world.roster() == []
    assert world.leases.touched == [([], ["room"])]
    assert world.metric("relay_held_members") == 0


async def test_a_room_whose_adopted_members_left_is_reported_as_left(world: UpkeepWorld) -> None:
    world.departures.take_over([HeldMember("elsewhere", "ghost", 5, 1.0)])
    await world.upkeep.work()
    world.now += 1
    await world.upkeep.work()
    assert world.leases.touched == [([], ["elsewhere"])]


async def test_rooms_are_renewed_in_time_although_renewals_take_several_rounds(world: UpkeepWorld) -> None:
    names = {f"r{number}" for number in range(60)}
    for name in names:
        world.rooms.stage(world.member(room=name))
    upkeep = world.make_upkeep(lambda: world.now, 0.001, rounds=40)
    world.leases.away = asyncio.Event()
    for _ in range(20):
        await upkeep.work()
    world.leases.away.set()
    for _ in range(2):
        await upkeep.work()
    assert {room for rooms, _ in world.leases.touched for room in rooms} == names


async def test_a_refusal_is_noted_and_the_next_round_works_again(world: UpkeepWorld) -> None:
    member = await world.join("a")
    await world.membership.leave(member, hold=False)
    world.leases.failures = [Unavailable().because("OOM")]
    await world.upkeep.work()
    assert world.health.refusal == "OOM"
    await world.upkeep.work()
    assert world.health.refusal == ""


async def test_a_refusal_stands_until_a_renewal_has_ended_well(world: UpkeepWorld) -> None:
    member = await world.join("a")
    await world.membership.leave(member, hold=False)
    world.leases.failures = [Unavailable().because("OOM")]
    await world.upkeep.work()
    world.upkeep = world.make_upkeep(lambda: world.now, 0.01)
    world.leases.away = asyncio.Event()
    await world.membership.leave(await world.join("b"), hold=False)
    await world.upkeep.work()
    assert world.health.refusal == "OOM"
    world.leases.away.set()
    await world.upkeep.work()
    assert world.health.refusal == ""


async def test_a_loop_that_died_while_a_renewal_waited_goes_on(world: UpkeepWorld) -> None:
    await world.membership.leave(await world.join("a"), hold=False)
    world.upkeep = world.make_upkeep(asyncio.get_running_loop().time, 0.01)
    world.leases.away = asyncio.Event()
    working = asyncio.create_task(world.upkeep.run())
    async with asyncio.timeout(5):
        while "unsubscribe" not in world.bus.calls:
            await asyncio.sleep(0)
    working.cancel()
    await asyncio.wait([working])
    world.leases.away.set()
    await world.membership.leave(await world.join("b", room="other"), hold=False)
    await world.upkeep.work()
    assert world.leases.touched == [([], ["other"])]


async def test_a_renewal_that_waits_for_a_part_of_redis_delays_no_leave(world: UpkeepWorld) -> None:
    gone = await world.join("a")
    held = await world.join("b", room="other")
    world.upkeep = world.make_upkeep(lambda: world.now, 0.01)
    world.leases.away = asyncio.Event()
    await world.membership.leave(gone, hold=False)
    await world.upkeep.work()
    await world.membership.leave(held, hold=True)
    world.now += 15
    await world.upkeep.work()
    await world.upkeep.work()
    assert await world.roster("other") == []
    assert world.leases.touched == []
    world.leases.away.set()
    await world.upkeep.work()
    await world.upkeep.work()
    assert world.leases.touched == [([], ["room"]), ([], ["other"])]


async def test_the_loop_works_until_it_is_cancelled(world: UpkeepWorld) -> None:
    working = asyncio.create_task(world.make_upkeep(asyncio.get_running_loop().time, 0.001).run())
    member = await world.join("a")
    await world.membership.leave(member, hold=False)
    async with asyncio.timeout(5):
        while "unsubscribe" not in world.bus.calls:
            await asyncio.sleep(0)
    working.cancel()
    await asyncio.wait([working])
    assert working.cancelled()
