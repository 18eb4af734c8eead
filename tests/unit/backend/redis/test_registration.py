"""The registration of a worker's lease and rooms; tests/contract/test_lost_leases.py has the consequences."""

import pytest

from relay.backend.redis.clock import RedisClock
from relay.backend.redis.registration import LOST
from relay.backend.redis.scripts import HEARTBEAT
from tests.unit.backend.redis.conftest import World, dead


def test_rooms_belong_to_one_lease(world: World) -> None:
    registration, first = world.registration, str(world.lease)
    registration.note(first, ["a", "b"])
    assert [registration.has("a"), registration.has("c"), registration.rooms] == [True, False, 2]
    registration.forget(["a"])
    assert [registration.has(room) for room in "ab"] == [False, True]
    world.lease.renew()
    registration.begin_anew()
    assert str(world.lease) != first
    assert (registration.has("b"), registration.rooms) == (False, 0)
    # The reply to a registration under the old lease comes late.
    registration.note(first, ["b"])
    assert not registration.has("b")
    registration.note(str(world.lease), ["c"])
    registration.forget()
    assert registration.rooms == 0


async def test_a_new_room_is_registered_and_the_set_gets_its_time_to_live_once_a_second(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = 5_000
    monkeypatch.setattr(RedisClock, "now", property(lambda _: time))
    world.registration.register(["a"])
    world.registration.note(str(world.lease), ["a"])
    world.registration.register(["a"])
    time += 999
    world.registration.register(["a", "b"])
    await world.leases.touch({}, ["left"])
    assert len(world.sent(b"SADD")) == 3
    own = b"relay:worker:%b:" % str(world.lease).encode()
    limited = [own + b"index", own + b"rooms"]
    assert [command[1] for command in world.sent(b"PEXPIRE")] == limited
    indexed = [command for command in world.sent(b"ZADD") if command[1] == own + b"index"]
    assert [command[2:] for command in indexed] == [[b"0", b"a"], [b"0", b"a", b"0", b"b"]]
    time += 1
    world.registration.register(["c"])
    await world.leases.touch({}, ["left"])
    assert [command[1] for command in world.sent(b"PEXPIRE")] == limited * 2
    # Redis may have lost both.
    world.registration.forget()
    world.registration.register(["d"])
    await world.leases.touch({}, ["left"])
    assert [command[1] for command in world.sent(b"PEXPIRE")] == limited * 3


async def test_a_room_is_in_the_index_before_it_is_in_the_set(world: World) -> None:
    """A list of rooms reads no index with fewer rooms than the set."""
    world.registration.register(["a"])
    await world.leases.touch({}, ["a"])
    names = [command[0] for command in world.server.commands if b"a" in command]
    assert names == [b"ZADD", b"SADD", b"SREM", b"ZREM"]


async def test_a_lease_that_is_missing_is_added_as_lost_with_the_deadline_that_it_had(world: World) -> None:
    world.answer({HEARTBEAT: dead(b"x/1", b"1")})
    await world.leases.beat()
    world.registration.register_lease()
    await world.leases.touch({}, ["left"])
    name = str(world.lease).encode()
    deadline = 1700000000000 + 10_000
    assert world.sent(b"ZADD")[-1] == [b"ZADD", b"relay:workers", b"NX", b"%.2f" % (deadline + LOST), name]


async def test_a_turn_of_the_event_loop_registers_the_lease_once(world: World) -> None:
    async def leases() -> int:
        await world.leases.touch({}, ["left"])
        return len([command for command in world.sent(b"ZADD") if command[1] == b"relay:workers"])

    # Connected first: while Redis is away, each registration has its own.
    assert await leases() == 0
    for room in "ab":
        world.registration.register([room])
    assert await leases() == 1
    world.registration.register(["c"])
    # A heartbeat has written another deadline.
    world.registration.renewed(1700000000000)
    world.registration.register(["d"])
    assert await leases() == 3


async def test_no_entry_is_written_after_the_end_of_the_lease(world: World) -> None:
    assert world.registration.deadline_of("room") == 0
    world.answer({HEARTBEAT: dead(b"x/1", b"1")})
    await world.leases.beat()
    # The time limit of a command (5 s) ends before the lease (10 s).
    assert 0 <= world.registration.deadline_of("room") - (1700000000000 + 5000) < 3000
    world.registration.renewed(1700000000000 + 2000)
    assert world.registration.deadline_of("room") == 1700000000000 + 2000
