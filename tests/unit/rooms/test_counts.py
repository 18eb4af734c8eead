"""Count notices: one number a second for a room, read when it changed."""

import asyncio
from collections.abc import Callable

import pytest

from relay.model.errors import Unavailable
from relay.rooms.observer import Sight
from tests.unit.rooms.world import World


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def short_interval(monkeypatch) -> None:
    monkeypatch.setattr("relay.rooms.counts._INTERVAL", 0.02)


async def test_many_changes_are_one_notice_for_every_observer(world: World) -> None:
    observers = [await world.observe(Sight.COUNTS) for _ in range(2)]
    asked = world.presence.calls.count("roster")
    for number in range(20):
        await world.join(f"m{number}")
    await asyncio.sleep(0)
    await until(lambda: not len(world.tasks))
    assert [one.connection.sent[1:] for one in observers] == [observers[0].connection.sent[1:]] * 2
    assert observers[0].connection.sent[1]["count"] == 20
    assert len(observers[0].connection.sent) == 2
    assert world.presence.calls.count("roster") == asked + 1


async def test_a_count_that_redis_does_not_give_is_asked_for_again(world: World) -> None:
    observer = await world.observe(Sight.COUNTS)
    world.presence.before["roster"] = [Unavailable()]
    await world.join("a")
    await until(lambda: len(observer.connection.sent) == 2)
    assert observer.connection.sent[1]["count"] == 1


async def test_a_room_whose_observers_have_gone_is_not_asked_for(world: World) -> None:
    observer = await world.observe(Sight.COUNTS)
    asked = world.presence.calls.count("roster")
    await world.join("a")
    await asyncio.sleep(0)
    world.observation.end(observer)
    world.counts.note("room")
    world.counts.note("unknown")
    await until(lambda: not len(world.tasks))
    assert (world.presence.calls.count("roster"), len(observer.connection.sent)) == (asked, 1)


async def test_without_counting_observers_nothing_is_counted(world: World) -> None:
    await world.observe()
    await world.settle()
    asked = world.presence.calls.count("roster")
    await world.join("a")
    await asyncio.sleep(0)
    assert (len(world.tasks), world.presence.calls.count("roster")) == (0, asked)


async def test_no_id_of_a_notice_is_ahead_of_the_events(world: World) -> None:
    observer = await world.observe(Sight.COUNTS)
    await world.join("a")
    await asyncio.sleep(0)
    reached = world.rooms.last("room")
    world.deaf = True
    await world.join("b")
    await until(lambda: len(observer.connection.sent) == 2)
    assert (observer.connection.sent[1]["count"], observer.connection.sent[1]["id"]) == (2, str(reached))
