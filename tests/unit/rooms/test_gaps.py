"""Closing gaps over memory, with failures put in."""

import asyncio

from relay.model.errors import Unavailable
from relay.model.events import Gap
from tests.unit.rooms.test_membership import World, world

__all__ = ["world"]


async def test_after_a_gap_everybody_here_is_given_what_was_missed(world: World) -> None:
    watcher, other = await world.join("a", presence=True), await world.join("b")
    await asyncio.sleep(0)
    world.rooms.ignore(["room"], world.bus._deliver)
    await world.publish(other, b'{"n":1}')
    await asyncio.sleep(0)
    world.rooms.listen(["room"], world.bus._deliver)
    world.bus.before["replay"] = [Unavailable()]
    world.hub.deliver([Gap(["room"])])
    async with asyncio.timeout(5):
        while len(watcher.connection.told) < 3:
            await asyncio.sleep(0.01)
    assert watcher.connection.told[2]["n"] == 1
    assert world.bus.calls.count("replay") == 2


async def test_after_a_gap_that_cannot_be_closed_all_are_told_and_watchers_get_a_fresh_list(
    world: World, monkeypatch
) -> None:
    monkeypatch.setattr("relay.rooms.gaps._ARRIVAL", 0.01)
    watcher = await world.join("a", presence=True)
    await asyncio.sleep(0)
    world.rooms.room("room").seq += 5
    world.hub.deliver([Gap(["room"])])
    world.repairs.begin(["room"])
    async with asyncio.timeout(5):
        while len(watcher.connection.told) < 3:
            await asyncio.sleep(0.01)
    assert [event["type"] for event in watcher.connection.told] == ["welcome", "error", "presence"]
    assert watcher.connection.told[1]["reason"] == "trimmed"
    assert watcher.connection.told[2]["members"] == [{"peer": "a"}]
    assert world.presence.calls.count("roster") == 1


async def test_after_redis_forgot_the_list_waits_until_all_workers_have_told_of_their_members(world: World) -> None:
    watcher = await world.join("a", presence=True)
    await asyncio.sleep(0)
    world.rooms.room("room").epoch += 5
    world.hub.deliver([Gap(["room"])])
    async with asyncio.timeout(5):
        while len(watcher.connection.told) < 2:
            await asyncio.sleep(0)
    assert watcher.connection.told[1]["reason"] == "epoch"
    place = world.rooms.room("room").members.pop("a")
    world.rooms.room("room").members |= {"a": place, "b": place}
    async with asyncio.timeout(5):
        while len(watcher.connection.told) < 3:
            await asyncio.sleep(0.01)
    assert watcher.connection.told[2]["members"] == [{"peer": "a"}, {"peer": "b"}]
