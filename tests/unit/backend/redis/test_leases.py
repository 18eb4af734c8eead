"""Leases in Redis, and the rooms that are registered under one."""

import asyncio

import pytest

from relay.backend.presence import ADOPTION_BATCH
from relay.backend.redis.client import RedisClient
from relay.backend.redis.scripts import ADOPT, HEARTBEAT
from relay.model.errors import OutcomeUnknown, Unavailable
from tests.unit.backend.redis.conftest import World, array, dead


def page_of(*names: bytes) -> bytes:
    """The reply to SSCAN: the last page of a set."""
    return b"*2\r\n$1\r\n0\r\n" + array(*names)


async def test_a_heartbeat_that_fails_inside_redis_is_a_refusal(world: World) -> None:
    world.answer({HEARTBEAT: lambda command: b"-WRONGTYPE x script: 5f, on @user_script:1.\r\n"})
    with pytest.raises(Unavailable, match="cannot renew this worker's lease"):
        await world.leases.beat()


async def test_a_retired_lease_is_distinguished_from_one_that_ran_out(world: World) -> None:
    for deadline, retired in ((b"1699999990000", set()), (b"1699999989999.5", {"x/1"})):
        world.answer({HEARTBEAT: dead(b"x/1", deadline)})
        status = await world.leases.beat()
        assert (list(status.dead), set(status.retired)) == (["x/1"], retired)


async def test_rooms_are_adopted_in_batches_and_each_in_pages(world: World) -> None:
    rooms = [b"room%04d" % number for number in range(ADOPTION_BATCH + 1)]

    def page(command: list[bytes]) -> bytes:
        cursor = b"0" if command[-3] == b"7" else b"7"
        member = b"*3\r\n$4\r\np" + command[-3].rjust(3, b"0") + b"\r\n$1\r\n5\r\n$4\r\n1500\r\n"
        return b"*2\r\n$1\r\n" + cursor + b"\r\n*1\r\n" + member

    world.answer({HEARTBEAT: dead(b"x/1", b"1699999990000"), ADOPT: page}, SSCAN=page_of(*rooms))
    assert [batch async for batch in world.leases.adopt("x/1")] == []
    await world.leases.beat()
    batches = [batch async for batch in world.leases.adopt("x/1")]
    assert [len(batch) for batch in batches] == [ADOPTION_BATCH, ADOPTION_BATCH, 1, 1]
    last = [(held.peer, held.generation, held.seconds) for batch in batches[2:] for held in batch]
    assert last == [("p000", 5, 1.5), ("p007", 5, 1.5)]
    assert [len(command) - 2 for command in world.sent(b"SADD")] == [ADOPTION_BATCH, 1]
    held_until = world.sent(b"EVALSHA")[-1][-4]
    assert held_until == b"%d" % (1699999990000 - 10_000 + 500 + 15_000)


async def test_members_of_a_dead_worker_are_held_for_the_whole_grace_time_after_redis_was_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis and all workers died together: no member could return before a worker reached Redis again."""
    monkeypatch.setattr(RedisClient, "era", 1_699_999_985_000_000)
    world.answer({HEARTBEAT: dead(b"x/1", b"1699999970000"), ADOPT: pages_of_two}, SSCAN=page_of(b"room"))
    await world.leases.beat()
    async for _ in world.leases.adopt("x/1"):
        pass
    assert world.sent(b"EVALSHA")[-1][-4] == b"%d" % (1_699_999_985_000 + 15_000)


def pages_of_two(command: list[bytes]) -> bytes:
    """The reply to an adoption of a room with two pages, and one member in each."""
    cursor = b"0" if command[-3] == b"7" else b"7"
    return b"*2\r\n$1\r\n" + cursor + b"\r\n*1\r\n*3\r\n$1\r\np\r\n$1\r\n5\r\n$4\r\n1500\r\n"


async def test_an_adoption_stops_when_the_own_lease_has_lapsed(world: World) -> None:
    world.answer({HEARTBEAT: dead(b"x/1", b"1699999990000"), ADOPT: pages_of_two}, SSCAN=page_of(b"room"))
    await world.leases.beat()
    own = str(world.lease).encode()
    adopting = world.leases.adopt("x/1")
    assert len(await anext(adopting)) == 1
    world.lease.renew()
    with pytest.raises(Unavailable, match="lapsed"):
        await anext(adopting)
    pages = [command for command in world.sent(b"EVALSHA") if command[1] == ADOPT.sha.encode()]
    assert [command[-5] for command in pages] == [own]
    assert world.sent(b"SADD")[0][1] == b"relay:worker:%b:rooms" % own


async def test_a_room_that_is_being_adopted_stays_registered(world: World) -> None:
    """This worker's last own member of the room may have left in the moment before."""
    world.answer({HEARTBEAT: dead(b"x/1", b"1699999990000"), ADOPT: pages_of_two}, SSCAN=page_of(b"room"))
    await world.leases.beat()
    async for _ in world.leases.adopt("x/1"):  # two pages
        await world.leases.touch({}, ["room"])
        await world.leases.touch({}, ["room", "other"])
    touched = await world.leases.touch({}, [])
    # The last one, after a look at whether the member that was taken over is still there.
    assert list(touched.vacant) == ["room"]
    await world.leases.touch({}, touched.vacant)
    assert [command[2:] for command in world.sent(b"SREM")] == [[b"other"], [b"other"], [b"room"]]
    assert list((await world.leases.touch({}, [])).vacant) == []


def no_members(command: list[bytes]) -> bytes:
    return b"*2\r\n$1\r\n0\r\n*0\r\n"


async def test_rooms_in_which_a_takeover_has_found_nobody_do_not_stay_registered(world: World) -> None:
    """Their members came back before it: nobody would ever leave these rooms, here and in Redis."""
    world.answer({HEARTBEAT: dead(b"x/1", b"1699999990000"), ADOPT: no_members}, SSCAN=page_of(b"room", b"other"))
    await world.leases.beat()
    assert [batch async for batch in world.leases.adopt("x/1")] == [[]]
    assert world.registration.rooms == 2
    touched = await world.leases.touch({}, [])
    await world.leases.touch({}, touched.vacant)
    assert world.registration.rooms == 0
    assert [sorted(command[2:]) for command in world.sent(b"SREM")] == [[b"other", b"room"]]


async def test_rooms_whose_takeover_failed_stay_registered_until_it_is_repeated(world: World) -> None:
    replies = [b"-OOM x\r\n", no_members([])]
    world.answer(
        {HEARTBEAT: dead(b"x/1", b"1699999990000"), ADOPT: lambda command: replies.pop(0)}, SSCAN=page_of(b"room")
    )
    await world.leases.beat()
    with pytest.raises(Unavailable):
        [batch async for batch in world.leases.adopt("x/1")]
    assert list((await world.leases.touch({}, [])).vacant) == []
    assert [batch async for batch in world.leases.adopt("x/1")] == [[]]
    assert list((await world.leases.touch({}, [])).vacant) == ["room"]


async def test_a_room_that_a_member_joins_again_is_registered_after_it_was_given_up(world: World) -> None:
    """On a cluster, the groups of rooms are renewed at the same time, each in a task of its own."""
    touched = world.leases.touch({}, ["room"])
    world.registration.register(["room"])
    await touched
    changes = [command[0] for command in world.server.commands if command[0] in {b"SREM", b"SADD"}]
    assert changes == [b"SREM", b"SADD"]


async def test_only_a_lease_that_the_last_heartbeat_reported_is_forgotten(world: World) -> None:
    """Redis reports a hundred dead leases at most, and those that are dead for longest first."""
    world.answer({HEARTBEAT: dead(b"x/1", b"1699999990000")})
    await world.leases.beat()
    await world.leases.forget("x/2")
    assert world.sent(b"ZREM") == world.sent(b"UNLINK") == []
    await world.leases.forget("x/1")
    assert world.sent(b"ZREM") == [[b"ZREM", b"relay:workers", b"x/1"]]
    assert world.sent(b"UNLINK") == [[b"UNLINK", b"relay:worker:x/1:rooms", b"relay:worker:x/1:index"]]


async def test_an_adoption_whose_reply_is_lost_is_an_error_and_not_an_empty_room(world: World) -> None:
    world.answer({HEARTBEAT: dead(b"x/1", b"1699999990000")}, SSCAN=page_of(b"room"))
    await world.leases.beat()

    def hang_up(command: list[bytes]) -> bytes:
        asyncio.get_running_loop().call_soon(world.server.hang_up)
        return b""

    world.answer({ADOPT: hang_up}, SSCAN=page_of(b"room"))
    with pytest.raises(OutcomeUnknown):
        [batch async for batch in world.leases.adopt("x/1")]


async def test_touching_renews_all_keys_that_have_a_time_to_live(world: World) -> None:
    world.answer({}, EXISTS=b":1\r\n", PEXPIRE=b":1\r\n")
    assert (await world.leases.touch({"room": "peer"}, ["left"])).again == ["room"]
    few = [b"relay:{room}:%b" % name for name in (b"options", b"watched", b"large", b"subjects")]
    assert world.sent(b"EXISTS") == [[b"EXISTS", *few]]
    assert len(world.sent(b"PEXPIRE")) == 6
    await world.leases.touch({"room": "peer"})
    own = b"relay:worker:%b:rooms" % str(world.lease).encode()
    assert {command[1] for command in world.sent(b"PEXPIRE")} == {
        own,
        own.replace(b":rooms", b":index"),
        b"relay:{room}:meta",
        b"relay:{room}:presence",
        b"relay:{room}:options",
        b"relay:{room}:quiet",
        b"relay:{room}:watched",
        b"relay:{room}:large",
        b"relay:{room}:places",
        b"relay:{room}:subjects",
    }
    assert world.sent(b"SREM") == [[b"SREM", own, b"left"]]
    # The set of rooms and its index have their time from just now.
    assert len(world.sent(b"PEXPIRE")) == 6 + 8
    await world.leases.touch({})
    assert len(world.sent(b"PEXPIRE")) == 6 + 8


async def test_another_run_of_redis_ends_the_lease_once(world: World, monkeypatch) -> None:
    """The lost time may be shorter than that between two heartbeats: the deadline alone does not show it."""
    world.answer({HEARTBEAT: dead(b"x/1", b"1699999990000")})

    async def known() -> int:
        await world.leases.beat()
        beats = [command for command in world.sent(b"EVALSHA") if command[1] == HEARTBEAT.sha.encode()]
        return int(beats[-1][-2])

    deadline = 1700000000000 + 10_000
    assert [await known(), await known()] == [0, deadline]
    monkeypatch.setattr(RedisClient, "run_changes", 1)
    assert await known() > 10 * deadline
    assert await known() == deadline


async def test_the_loss_of_all_leases_brings_those_back_that_the_worker_knows(world: World) -> None:
    replies = iter([0, 2, 0])

    def beat(command: list[bytes]) -> bytes:
        return b"*4\r\n:%d\r\n*0\r\n:1700000000000\r\n:0\r\n" % next(replies)

    world.answer({HEARTBEAT: beat}, ZRANGE=array(b"x/1", b"y/1"))
    await world.leases.beat()
    status = await world.leases.beat()
    assert status.ended == "lost"
    (restored,) = world.sent(b"ZADD")
    assert restored[:3] == [b"ZADD", b"relay:workers", b"NX"]
    assert restored[4::2] == [b"x/1", b"y/1"]
    assert all(score.endswith(b".25") for score in restored[3::2])


async def test_a_room_whose_members_cannot_be_read_is_not_lost(world: World) -> None:
    world.answer({}, HEXISTS=b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n")
    assert list((await world.leases.touch({"room": "peer"})).lost) == []
