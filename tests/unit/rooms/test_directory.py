"""Questions about rooms, answered over memory."""

import asyncio
from collections.abc import Callable

import pytest

from relay.model.commands import Publish
from relay.model.errors import Unavailable
from relay.model.room_list import FIRST_ROOMS
from relay.rooms.directory import Directory
from tests.unit.rooms.world import World


def directory_of(world: World, check: Callable[[str], None] = lambda room: None) -> Directory:
    backend = world.backend
    return Directory(world.channels, world.presence, backend.list_rooms, world.quotas, backend.headroom, check=check)


async def say(world: World, member, channel: str) -> None:
    outcome: asyncio.Future = asyncio.get_running_loop().create_future()
    world.publisher.publish(member, Publish(b"{}", channel=channel), outcome.set_result)
    await outcome
    await asyncio.sleep(0)


async def test_rosters_and_rooms_come_from_presence(world: World) -> None:
    await world.join("a")
    directory = directory_of(world)
    assert (await directory.roster("room")).count == 1
    assert (await directory.list_rooms(FIRST_ROOMS)).rooms == [("room", 1)]


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


async def test_no_history_is_read_for_a_channel(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    member = await world.join("a")
    await asyncio.sleep(0)
    await say(world, member, "chess")
    monkeypatch.setattr(world.bus, "replay", None, raising=False)
    assert await directory_of(world).detect("chess", "room")
    assert not await directory_of(world).detect("go", "room")


async def test_a_channel_is_in_use_for_a_time_after_its_last_message(world: World) -> None:
    member = await world.join("a")
    await asyncio.sleep(0)
    await say(world, member, "chess")
    world.now += 29
    assert await directory_of(world).detect("chess", "room")
    world.now += 2
    assert not await directory_of(world).detect("chess", "room")


async def test_the_server_uses_channels_as_well(world: World) -> None:
    await world.publisher.publish_from_server("room", Publish(b"{}", channel="chess"))
    assert await directory_of(world).detect("chess", "room")


async def test_a_client_that_may_not_see_rooms_is_told_of_channels_alone(world: World) -> None:
    member = await world.join("a")
    await world.join("b", room="elsewhere")
    directory = directory_of(world)
    assert not await directory.detect("elsewhere", "room", rooms=False)
    await say(world, member, "elsewhere")
    assert await directory.detect("elsewhere", "room", rooms=False)


async def test_questions_about_a_lost_room_are_refused_before_they_are_asked(world: World) -> None:
    def check(room: str) -> None:
        if room == "lost":
            raise Unavailable("a part is away")

    directory = directory_of(world, check)
    for question in (
        directory.roster("lost"),
        directory.detect("lost", "room"),
        directory.detect("room", "lost", rooms=False),
    ):
        with pytest.raises(Unavailable, match="a part is away"):
            await question
    assert world.presence.calls == []
    assert (await directory.roster("room")).count == 0
