"""Announcing members over memory."""

import asyncio

import pytest

from relay.model.errors import REPLACED
from tests.fleet import eventually
from tests.unit.rooms.world import World


async def test_members_that_were_taken_over_are_closed(world: World) -> None:
    forgotten, replaced = await world.join("forgotten"), await world.join("replaced")
    world.entries()["replaced"].generation += 1
    del world.entries()["forgotten"]
    await world.announce()
    assert (forgotten.connection.reason, replaced.connection.reason) == (None, REPLACED)
    assert await world.roster() == [("forgotten", False), ("replaced", False)]


async def test_a_member_that_leaves_while_others_are_announced_is_not_announced(world: World, monkeypatch) -> None:
    monkeypatch.setattr("relay.rooms.announcer._BATCH", 1)
    first, second = await world.join("first"), await world.join("second")

    async def leave() -> None:
        await world.membership.leave(second, hold=False)

    world.presence.meanwhile["announce"] = leave
    await world.announce()
    assert await world.roster() == [("first", False)]
    assert first.connection.reason is None


@pytest.mark.parametrize(("members", "batches"), [(0, 0), (1, 1), (3, 2)])
async def test_the_caller_gets_to_act_between_batches(world: World, monkeypatch, members: int, batches: int) -> None:
    monkeypatch.setattr("relay.rooms.announcer._BATCH", 2)
    for number in range(members):
        await world.join(f"p{number}")
    calls = []

    async def between() -> None:
        calls.append(world.presence.calls.count("announce"))

    await world.announcer.announce_all(between)
    assert world.losses == []
    assert calls == list(range(1, batches + 1))
    assert world.announcer.rounds == 1


async def test_an_entry_has_the_newest_id_that_the_worker_has_seen(world: World) -> None:
    member = await world.join("a")
    assert world.announcer.entry_of(member).seen == member.since
    await world.publish(member)
    await asyncio.sleep(0)
    assert world.announcer.entry_of(member).seen.seq == member.since.seq + 1
    assert world.announcer.entry_of(member).began == member.began


@pytest.mark.parametrize(("ended", "held"), [("lapsed", []), ("lost", [("p", True)]), ("older", [("p", True)])])
async def test_held_members_are_announced_as_held_if_redis_has_lost_data(world: World, ended, held) -> None:
    """After a mere lapse, another worker may have ended their memberships."""
    member = await world.join("p")
    await world.membership.leave(member, hold=True)
    world.entries().clear()
    await world.announce(ended)
    assert await world.roster() == held
    assert world.losses == ["loss"] * (ended != "lapsed")
    await world.pass_time(15)
    assert await world.roster() == []


async def test_all_rooms_are_compared_with_a_redis_that_is_older(world: World) -> None:
    watcher = await world.join("w", presence=True)
    await world.publish(watcher)
    await asyncio.sleep(0)
    # Redis goes back to before the message, and another event gets its id.
    world.backend.room("room").seq -= 1
    await world.announce("older")
    await eventually(lambda: len(watcher.connection.sent) == 3)
    lost, listed = watcher.connection.sent[1:]
    assert (lost["code"], lost["reason"], listed["members"]) == ("messages_lost", "epoch", [{"peer": "w"}])
