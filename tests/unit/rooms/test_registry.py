"""The rooms of a worker: they begin with the first member, and end with the last."""

import pytest

from relay.model.envelope import BEFORE_ALL, MessageId
from tests.unit.rooms.world import World


def test_a_room_begins_with_its_first_member_and_ends_with_its_last(world: World) -> None:
    rooms, first, second = world.rooms, world.member("a"), world.member("b")
    rooms.stage(first)
    rooms.stage(second)
    assert (len(rooms), rooms.names(), world.metric("relay_rooms")) == (1, ["room"], 1)
    assert rooms["room"] is rooms.get("room")
    assert not rooms.remove(first)
    assert rooms.get("room") is not None
    rooms.remove(second)
    assert (len(rooms), rooms.get("room"), world.metric("relay_rooms")) == (0, None, 0)
    assert not rooms.remove(second)
    with pytest.raises(KeyError):
        rooms["room"]


async def test_members_are_those_that_were_welcomed(world: World) -> None:
    member = await world.join("a")
    staged = world.member("b")
    world.rooms.stage(staged)
    assert list(world.rooms.members()) == [member]
    assert (world.rooms.has(member), world.rooms.has(staged), world.rooms.has(world.member(room="x"))) == (
        True, False, False,
    )  # fmt: skip
    assert world.metric("relay_members") == 1
    assert world.rooms.remove(member)
    assert world.metric("relay_members") == 0


async def test_observers_have_a_room_of_their_own_count(world: World) -> None:
    observer, member = await world.observe(), await world.join("a", room="joined")
    assert world.rooms.names() == ["room", "joined"]
    assert [world.rooms.has_members(name) for name in ("room", "joined", "none")] == [False, True, False]
    assert [world.rooms.observers(name) for name in ("room", "joined", "none")] == [1, 0, 0]
    assert list(world.rooms.members()) == [member]
    world.rooms.remove_observer(observer)
    world.rooms.remove_observer(observer)
    assert (world.rooms.names(), world.metric("relay_observers")) == (["joined"], 0)


async def test_the_last_id_of_a_room_is_the_newest_that_was_delivered(world: World) -> None:
    assert world.rooms.last("room") == BEFORE_ALL
    member = await world.join("a")
    assert world.rooms.last("room") == member.since


async def test_callbacks_that_still_wait_are_called_when_the_room_ends(world: World) -> None:
    member, called = await world.join("a"), []
    world.hub.when_delivered("room", MessageId(member.since.epoch, 99), lambda: called.append(True))
    assert called == []
    world.rooms.remove(member)
    assert called == [True]
