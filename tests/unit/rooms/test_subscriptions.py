"""First joins and last leaves, which race."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from relay.model.errors import Unavailable
from relay.rooms.subscriptions import RoomSubscriptions
from tests.unit.rooms.world import World


async def test_a_room_that_is_left_and_joined_again_stays_subscribed(world: World) -> None:
    member = await world.join("a")
    await world.membership.leave(member, hold=False)
    await world.join("b")
    await world.subscriptions.unsubscribe_idle()
    assert world.bus.calls == ["subscribe"]


async def test_a_room_without_members_is_unsubscribed(world: World) -> None:
    member = await world.join("a")
    await world.membership.leave(member, hold=False)
    assert await world.subscriptions.unsubscribe_idle() == ["room"]
    assert world.bus.calls == ["subscribe", "unsubscribe"]
    assert await world.subscriptions.unsubscribe_idle() == []
    await world.join("b")
    assert world.bus.calls == ["subscribe", "unsubscribe", "subscribe"]


async def test_a_join_that_waits_for_redis_does_not_hold_up_the_unsubscriptions(world: World) -> None:
    other, room = await world.join("x", room="other"), await world.join("a")
    await world.membership.leave(room, hold=False)
    await world.subscriptions.unsubscribe_idle()
    reply = asyncio.Event()
    world.bus.meanwhile["subscribe"] = reply.wait
    joining = asyncio.create_task(world.join("b"))
    await asyncio.sleep(0)
    world.rooms.remove(world.member("nobody"))
    world.subscriptions.note_idle("room")
    await world.membership.leave(other, hold=False)
    async with asyncio.timeout(1):
        assert await world.subscriptions.unsubscribe_idle() == ["other"]
    reply.set()
    member = await joining
    assert world.rooms.has(member)
    assert world.bus.calls == ["subscribe", "subscribe", "unsubscribe", "subscribe", "unsubscribe"]


async def test_a_room_that_fell_idle_during_a_join_is_looked_at_again(world: World) -> None:
    reply = asyncio.Event()
    world.bus.meanwhile["subscribe"] = reply.wait
    world.bus.after["subscribe"] = [Unavailable()]
    joining = asyncio.create_task(world.join("b"))
    await asyncio.sleep(0)
    member = world.rooms["room"].joining
    world.rooms.remove(next(iter(member)))
    world.subscriptions.note_idle("room")
    assert await world.subscriptions.unsubscribe_idle() == ["room"]
    reply.set()
    with pytest.raises(Unavailable):
        await joining
    assert await world.subscriptions.unsubscribe_idle() == ["room"]
    assert await world.subscriptions.unsubscribe_idle() == []
    assert world.bus.calls == ["subscribe"]


async def test_a_join_during_the_unsubscription_of_its_room_subscribes_anew(world: World) -> None:
    member = await world.join("a")
    await world.membership.leave(member, hold=False)
    reply = asyncio.Event()
    world.bus.meanwhile["unsubscribe"] = reply.wait
    unsubscribing = asyncio.create_task(world.subscriptions.unsubscribe_idle())
    await asyncio.sleep(0)
    joining = asyncio.create_task(world.join("b"))
    await asyncio.sleep(0)
    assert world.bus.calls == ["subscribe", "unsubscribe"]
    reply.set()
    await unsubscribing
    await joining
    assert world.bus.calls == ["subscribe", "unsubscribe", "subscribe"]


class PartlyLostBus:
    """A bus that confirms all rooms but `lost`, whose subscription takes until `waits` has ended, and fails then."""

    def __init__(self, world: World) -> None:
        self.waits: Any = asyncio.Event().wait
        self.asked = 0
        self.subscriptions = RoomSubscriptions(world.rooms, self, world.watches, timeout=5, clock=lambda: world.now)

    async def subscribe(self, rooms: Iterable[str]) -> None:
        if "lost" in rooms:
            self.asked += 1
            await self.waits()
            raise Unavailable("Redis did not confirm a subscription")

    async def unsubscribe(self, rooms: Iterable[str]) -> None:
        pass


async def test_no_room_waits_for_another_one_whose_redis_is_away(world: World) -> None:
    bus = PartlyLostBus(world)
    lost = asyncio.create_task(bus.subscriptions.stage(world.member("a", room="lost")))
    await asyncio.sleep(0)
    async with asyncio.timeout(2):
        for number in range(2_000):
            await bus.subscriptions.stage(world.member("a", room=f"room-{number}"))
            # In a room that is subscribed already, too.
            await bus.subscriptions.stage(world.member("b", room=f"room-{number}"))
    assert not lost.done()
    lost.cancel()


async def test_joins_into_one_lost_room_wait_once_and_not_one_after_the_other(world: World) -> None:
    bus = PartlyLostBus(world)

    async def wait() -> None:
        await asyncio.sleep(0)
        world.now += 5

    bus.waits = wait
    joins = [bus.subscriptions.stage(world.member(f"p{number}", room="lost")) for number in range(10)]
    outcomes = await asyncio.gather(*joins, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    assert bus.asked == 1


async def test_a_join_that_came_later_goes_on_waiting_for_the_rest_of_its_own_time(world: World) -> None:
    bus, first_ends, second_waits = PartlyLostBus(world), asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        if bus.asked == 1:
            await first_ends.wait()
        else:
            second_waits.set()
            await asyncio.Event().wait()

    bus.waits = wait
    first = asyncio.create_task(bus.subscriptions.stage(world.member("a", room="lost")))
    await asyncio.sleep(0)
    world.now += 0.3
    second = asyncio.create_task(bus.subscriptions.stage(world.member("b", room="lost")))
    await asyncio.sleep(0)
    world.now += 4.7
    first_ends.set()
    with pytest.raises(Unavailable):
        await first
    await second_waits.wait()
    assert not second.done()
    # Of its five seconds, 4.7 are over.
    with pytest.raises(Unavailable):
        async with asyncio.timeout(3):
            await second


async def test_a_join_that_waited_for_one_whose_client_has_gone_subscribes_itself(world: World) -> None:
    reply = asyncio.Event()
    world.bus.meanwhile["subscribe"] = reply.wait
    first = asyncio.create_task(world.join("a"))
    await asyncio.sleep(0)
    second = asyncio.create_task(world.join("b"))
    await asyncio.sleep(0)
    first.cancel()
    reply.set()
    member = await second
    assert world.rooms.has(member)
    assert world.bus.calls == ["subscribe", "subscribe"]
