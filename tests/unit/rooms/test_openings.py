"""Rooms that do not exist: which clients may open them."""

import pytest

from relay.backend.headroom import Level
from relay.model.errors import Refused
from relay.rooms.claim import Claim
from relay.rooms.member import Member
from tests.unit.rooms.world import World


@pytest.fixture
def world() -> World:
    return World(grace=0)


async def enter(world: World, room: str, peer: str = "p", address: str = "a") -> Member | str:
    member = world.member(peer, room)
    try:
        await world.membership.join(member, Claim(address=address), since=None)
    except Refused as error:
        return error.code
    return member


async def test_an_address_opens_so_many_rooms_a_minute_and_joins_any_that_exist(world: World) -> None:
    for number in range(3):
        assert isinstance(await enter(world, f"room{number}"), Member)
    assert await enter(world, "room3") == "too_many_new_rooms"
    assert isinstance(await enter(world, "room0", "q"), Member)
    assert isinstance(await enter(world, "room3", address="b"), Member)
    assert isinstance(await enter(world, "room3", "q"), Member)
    world.now += 60
    assert isinstance(await enter(world, "room4"), Member)


async def test_rooms_that_exist_use_nothing_up(world: World) -> None:
    await enter(world, "room", address="b")
    for number in range(10):
        assert isinstance(await enter(world, "room", f"p{number}"), Member)
    assert isinstance(await enter(world, "other"), Member)


async def test_memory_that_is_short_for_one_room_bars_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.backend.headroom.report(85, 100)
    levels = {"short": Level.LOW, "ample": Level.AMPLE}
    monkeypatch.setattr(world.backend.headroom, "level_of", levels.__getitem__)
    assert await enter(world, "short") == "memory_low"
    assert isinstance(await enter(world, "ample"), Member)


async def test_a_refused_client_leaves_nothing_behind(world: World) -> None:
    for number in range(3):
        await enter(world, f"room{number}")
    calls = len(world.bus.calls)
    assert await enter(world, "new") == "too_many_new_rooms"
    assert world.bus.calls[calls:] == []
    assert world.backend.peek("new") is None
    assert world.rooms.get("new") is None


async def test_a_room_that_was_left_is_there_for_a_while_and_joining_it_again_opens_none(world: World) -> None:
    for _ in range(10):
        member = await enter(world, "room")
        assert isinstance(member, Member)
        await world.membership.leave(member, hold=False)
    assert isinstance(await enter(world, "other"), Member)


async def test_an_observer_opens_a_room_as_a_member_does(world: World) -> None:
    for number in range(3):
        await world.observe(room=f"room{number}", address="a")
    with pytest.raises(Refused) as refused:
        await world.observe(room="room3", address="a")
    assert refused.value.code == "too_many_new_rooms"
    assert world.rooms.get("room3") is None
    await enter(world, "there", address="b")
    await world.observe(room="there", address="a")


async def test_no_room_is_opened_while_memory_is_low_and_those_that_exist_go_on(world: World) -> None:
    member = await enter(world, "room")
    world.backend.headroom.report(85, 100)
    assert await enter(world, "new", address="b") == "memory_low"
    assert isinstance(await enter(world, "room", "q"), Member)
    assert isinstance(member, Member)
    assert (await world.publish(member)).id.seq > 0
    world.backend.headroom.report(95, 100)
    assert await enter(world, "room", "r") == "memory_low"
    back = world.member("p", "room")
    await world.membership.join(back, Claim(member.connection.sent[0]["resume"]), since=None)
    assert back.welcomed
    world.backend.headroom.report(50, 100)
    assert isinstance(await enter(world, "new", address="b"), Member)
