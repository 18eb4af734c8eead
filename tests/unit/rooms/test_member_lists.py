"""Member lists and the events that they know of, which may arrive before or after them."""

import asyncio

import pytest

from relay.model.errors import Unavailable
from tests.unit.rooms.world import World


async def test_a_list_waits_for_the_events_up_to_its_id(world: World) -> None:
    await world.join("a")
    await asyncio.sleep(0)
    world.deaf = True
    other = await world.join("b")
    await world.publish(other)
    await asyncio.sleep(0)
    reading = asyncio.create_task(world.lists.read("room"))
    await asyncio.sleep(0.02)
    assert not reading.done()
    world.deaf = False
    newest, missed, _ = world.backend.since("room", world.rooms.last("room"))
    world.hub.deliver(missed)
    roster = await reading
    assert (roster.id, roster.count) == (newest, 2)


async def test_a_list_whose_events_do_not_arrive_is_refused(world: World) -> None:
    member = await world.join("a")
    await asyncio.sleep(0)
    world.deaf = True
    await world.publish(member)
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="did not receive the room's events in time"):
        await world.lists.read("room")


async def test_a_list_that_is_behind_the_events_is_read_again(world: World) -> None:
    await world.join("a")
    await asyncio.sleep(0)
    joined = []

    async def overtaken(*arguments):
        roster = await read(*arguments)
        if not joined:
            joined.append(await world.join("b"))
            await asyncio.sleep(0)
        return roster

    read, world.presence.roster = world.presence.roster, overtaken
    roster = await world.lists.read("room")
    assert [one.peer for one in roster.members] == ["a", "b"]


async def test_a_list_that_is_always_behind_is_read_three_times_only(world: World) -> None:
    await world.join("p0")
    await asyncio.sleep(0)

    async def overtaken(*arguments):
        roster = await read(*arguments)
        await world.join(f"p{roster.count}")
        await asyncio.sleep(0)
        return roster

    read, world.presence.roster = world.presence.roster, overtaken
    assert (await world.lists.read("room")).count == 3


async def test_a_list_of_a_room_without_listeners_here_waits_for_nothing(world: World) -> None:
    assert (await world.lists.read("elsewhere")).count == 0
