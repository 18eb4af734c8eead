"""Presence in Redis."""

import asyncio

import pytest

from relay.backend.presence import JoinAttempt, PresenceEntry, TooLate
from relay.backend.redis.scripts import ANNOUNCE, CHANGE, HEARTBEAT, JOIN
from relay.model.errors import Unavailable
from tests.fleet import eventually
from tests.unit.backend.redis.conftest import World, array, dead

ATTEMPT = JoinAttempt(room="room", peer="peer", offered="", fresh="f")

JOINED = (
    b"*11\r\n$6\r\njoined\r\n$1\r\n7\r\n$3\r\n1-1\r\n$0\r\n\r\n$3\r\n1-1\r\n"
    b":1\r\n$0\r\n\r\n:1\r\n$0\r\n\r\n:0\r\n:0\r\n"
)

REDIS_TIME = 1_700_000_000_000


async def test_the_lease_and_the_room_are_registered_ahead_of_each_member(world: World) -> None:
    world.answer({JOIN: lambda command: JOINED})
    for _ in range(2):
        result = await world.presence.join(ATTEMPT)
    assert (result.generation, result.resumed, result.first, result.roster) == (7, False, True, None)
    names = [
        command[0] for command in world.server.commands if command[0] not in {b"CLIENT", b"SCRIPT", b"TIME", b"EXISTS"}
    ]
    # A room that Redis is not known to have goes into the index of the worker's rooms as well.
    first = [b"ZADD", b"ZADD", b"SADD", b"PEXPIRE", b"PEXPIRE", b"EVALSHA"]
    assert names == [*first, b"ZADD", b"SADD", b"EVALSHA"]


async def test_a_join_whose_lease_is_over_waits_for_the_next_heartbeat(world: World) -> None:
    def answer(command: list[bytes]) -> bytes:
        deadline = int(command[3 + int(command[2]) + 14])
        return array(b"late") if 0 < deadline < REDIS_TIME else JOINED

    world.answer({JOIN: answer, HEARTBEAT: lambda command: b"*4\r\n:0\r\n*0\r\n:%d\r\n:0\r\n" % REDIS_TIME})
    await world.leases.beat()
    # The worker stood still for longer than its lease.
    world.registration.renewed(REDIS_TIME - 1)
    joining = asyncio.ensure_future(world.presence.join(ATTEMPT))
    await eventually(lambda: any(command[1:2] == [JOIN.sha.encode()] for command in world.sent(b"EVALSHA")))
    await world.leases.beat()
    assert (await joining).generation == 7


async def test_a_change_of_an_info_that_came_too_late_is_made_again(world: World) -> None:
    replies = [b":2\r\n", b":1\r\n"]
    world.answer({CHANGE: lambda command: replies.pop(0)})
    assert await world.presence.change(PresenceEntry("room", "peer", 1, info=b"{}"))


async def test_a_join_that_stays_too_late_is_unavailable(world: World, monkeypatch) -> None:
    monkeypatch.setattr("relay.backend.redis.presence._CONFIRMATION_STEP", 0)
    world.answer({JOIN: lambda command: array(b"late")})
    with pytest.raises(Unavailable, match="did nothing"):
        await world.presence.join(ATTEMPT)


async def test_a_join_under_a_lease_that_stays_over_asks_redis_at_the_beginning_and_at_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of a cluster that is away takes the leases of its group along; each join asked 21 times."""
    monkeypatch.setattr("relay.backend.redis.presence._CONFIRMATION_STEP", 0)
    heartbeat = b"*4\r\n:0\r\n*0\r\n:%d\r\n:0\r\n" % REDIS_TIME
    world.answer({JOIN: lambda command: array(b"late"), HEARTBEAT: lambda command: heartbeat})
    await world.leases.beat()
    world.registration.renewed(REDIS_TIME - 1)
    with pytest.raises(Unavailable, match="did nothing"):
        await world.presence.join(ATTEMPT)
    assert sum(command[1] == JOIN.sha.encode() for command in world.sent(b"EVALSHA")) == 2


async def test_an_announcement_that_came_too_late_says_so(world: World) -> None:
    world.answer({ANNOUNCE: lambda command: b":2\r\n"})
    with pytest.raises(TooLate, match="did nothing"):
        await world.presence.announce([PresenceEntry("room", "peer", 1)])


async def test_a_change_of_an_info_that_stays_too_late_is_unavailable(world: World, monkeypatch) -> None:
    monkeypatch.setattr("relay.backend.redis.presence._CONFIRMATION_STEP", 0)
    world.answer({CHANGE: lambda command: b":2\r\n"})
    with pytest.raises(Unavailable, match="did nothing"):
        await world.presence.change(PresenceEntry("room", "peer", 1, info=b"{}"))


async def test_no_members_are_announced_without_any_command(world: World) -> None:
    assert list(await world.presence.announce([])) == []
    assert world.sent(b"EVALSHA") == world.sent(b"SADD") == []


async def test_a_refusal_fails_the_announcement_of_all(world: World) -> None:
    world.answer({ANNOUNCE: lambda command: b"-OOM no script: 5f, on @user_script:1.\r\n"})
    with pytest.raises(Unavailable):
        await world.presence.announce([PresenceEntry("room", "peer", 1)])


async def test_commands_have_a_deadline_once_the_time_in_redis_is_known(world: World) -> None:
    world.answer({HEARTBEAT: dead(b"x/1", b"1"), ANNOUNCE: lambda command: b":1\r\n"})
    await world.presence.announce([PresenceEntry("room", "peer", 1)])
    await world.leases.beat()
    await world.presence.announce([PresenceEntry("room", "peer", 1)])
    announced = [one for one in world.sent(b"EVALSHA") if one[1] == ANNOUNCE.sha.encode()]
    first, second = [int(command[-6]) for command in announced]
    assert first == 0
    assert 0 <= second - (1700000000000 + 5000) < 3000
