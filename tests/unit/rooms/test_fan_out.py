"""The budget of deliveries of a room: a message above it is published, and its sender waits."""

import asyncio

import pytest

from relay.metrics import Metrics
from relay.model.commands import Publish
from relay.rooms.fan_out import SMALL, FanOut
from tests.unit.rooms.world import World


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def filled(members: int, room: str = "room") -> World:
    world = World()
    for number in range(members):
        await world.join(f"p{number}", room=room)
    await asyncio.sleep(0)
    return world


async def test_a_sender_waits_for_as_long_as_its_room_owes() -> None:
    world, clock, metrics = await filled(20), Clock(), Metrics()
    fan_out, room = FanOut(rate=1000, clock=clock, metrics=metrics), world.rooms["room"]
    members = len(room.members)
    waits = [fan_out.charge(room, Publish(b"{}")) for _ in range(1000 // members + 2)]
    assert not any(waits[: 1000 // members])
    assert waits[-1] == pytest.approx((len(waits) * members - 1000) / 1000)
    assert metrics.fan_out_waits._value.get() == sum(map(bool, waits))
    clock.now += 10
    assert fan_out.charge(room, Publish(b"{}")) == 0


async def test_a_message_to_some_members_counts_for_each_of_them() -> None:
    world, clock = await filled(20), Clock()
    fan_out, room = FanOut(rate=100, clock=clock, metrics=Metrics()), world.rooms["room"]
    waits = [fan_out.charge(room, Publish(b"{}", to=("p1", "p2"))) for _ in range(51)]
    assert [bool(wait) for wait in waits] == [False] * 50 + [True]


async def test_no_sender_waits_for_long() -> None:
    world, clock = await filled(20), Clock()
    fan_out, room = FanOut(rate=1, clock=clock, metrics=Metrics()), world.rooms["room"]
    assert fan_out.charge(room, Publish(b"{}")) == fan_out.charge(room, Publish(b"{}")) == 5


async def test_small_rooms_are_not_counted() -> None:
    for members, counted in ((SMALL, False), (SMALL + 2, True)):
        world = await filled(members)
        sender = next(iter(world.rooms["room"].members.values()))
        waits = [world.publisher.publish(sender, Publish(b"{}"), lambda _: None) for _ in range(100)]
        assert any(waits) is counted
