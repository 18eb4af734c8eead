"""Questions about rooms, answered over memory."""

import asyncio

import pytest

from relay.model.commands import Publish
from relay.rooms.directory import Directory
from tests.unit.rooms.world import World


def directory_of(world: World) -> Directory:
    return Directory(world.rooms, world.bus, world.presence, world.backend.list_rooms)


async def say(world: World, member, channel: str) -> None:
    outcome: asyncio.Future = asyncio.get_running_loop().create_future()
    world.publisher.publish(member, Publish(b"{}", channel=channel), outcome.set_result)
    await outcome
    await asyncio.sleep(0)


async def test_rosters_and_rooms_come_from_presence(world: World) -> None:
    await world.join("a")
    directory = directory_of(world)
    assert (await directory.roster("room")).count == 1
    assert list(await directory.occupied()) == [("room", 1)]


async def test_a_room_with_other_members_is_in_use(world: World) -> None:
    await world.join("a")
    directory = directory_of(world)
    assert not await directory.detect("room", "room")
    assert not await directory.detect("elsewhere", "room")
    await world.join("b")
    await world.join("c", room="elsewhere")
    assert await directory.detect("room", "room")
    assert await directory.detect("elsewhere", "room")


async def test_a_name_is_text(world: World) -> None:
    await world.join("a", room="a%20b")
    directory = directory_of(world)
    assert await directory.detect("a b", "room")
    assert not await directory.detect("a b", "a%20b")
    assert not await directory.detect("a%20b", "room")


async def test_a_channel_with_recent_messages_is_in_use(world: World) -> None:
    member = await world.join("a")
    await asyncio.sleep(0)
    await say(world, member, "chess")
    directory = directory_of(world)
    assert await directory.detect("chess", "room")
    assert not await directory.detect("go", "room")
    assert not await directory.detect("chess", "a room without members here")


async def test_a_name_that_no_room_can_have_may_be_a_channel(world: World) -> None:
    member = await world.join("a")
    await asyncio.sleep(0)
    name = "x" * 200 + "\n"
    await say(world, member, name)
    assert await directory_of(world).detect(name, "room")


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [(0, 8, True), (12, 7, True), (12, 8, False)],
    ids=["all there is", "the newest eight", "too long ago"],
)
async def test_where_not_all_can_be_replayed_only_the_newest_events_are_searched(
    world: World, before: int, after: int, found: bool
) -> None:
    member = await world.join("a")
    await asyncio.sleep(0)
    for channel in ["go"] * before + ["chess"] + ["go"] * after:
        await say(world, member, channel)
    assert await directory_of(world).detect("chess", "room") is found


async def test_a_history_that_replays_nothing_has_no_channels() -> None:
    world = World(history=0)
    member = await world.join("a")
    await asyncio.sleep(0)
    await say(world, member, "chess")
    assert not await directory_of(world).detect("chess", "room")
