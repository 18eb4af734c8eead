"""First joins and last leaves, which race."""

import asyncio

import pytest

from relay.model.errors import Unavailable
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
