"""Calls of join.lua that come in one turn of the event loop."""

import asyncio
from typing import Any

import pytest
from msgspec import structs

from relay.backend.redis import presence
from relay.backend.redis.connection import Done
from relay.backend.redis.scripts import JOIN, Script
from relay.model.errors import Unavailable
from tests.unit.backend.redis.conftest import World
from tests.unit.backend.redis.test_presence import ATTEMPT, JOINED


async def connected(world: World) -> None:
    world.answer({JOIN: lambda command: JOINED})
    await world.leases.touch({}, ["left"])
    world.server.reads.clear()


def names(world: World) -> list[bytes]:
    return [command[0] for command in world.server.commands]


async def test_the_joins_of_a_turn_have_one_registration_and_leave_in_one_write(world: World) -> None:
    await connected(world)
    attempts = [structs.replace(ATTEMPT, room=room) for room in ("a", "b", "a")]
    results = await asyncio.gather(*map(world.presence.join, attempts))
    assert [result.generation for result in results] == [7, 7, 7]
    assert len(world.server.reads) == 1
    lease, index, rooms, *expiries, first, second, third = world.server.commands
    assert (lease[1], index[3::2], rooms[2:]) == (b"relay:workers", [b"a", b"b"], [b"a", b"b"])
    assert [command[0] for command in expiries] == [b"PEXPIRE", b"PEXPIRE"]
    assert [command[3] for command in (first, second, third)] == [
        b"relay:{%b}:meta" % room for room in (b"a", b"b", b"a")
    ]


async def test_a_join_that_is_cancelled_in_its_turn_is_not_made(world: World) -> None:
    await connected(world)
    one, other = (asyncio.create_task(world.presence.join(ATTEMPT)) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    assert (await other).generation == 7
    assert one.cancelled()
    assert names(world).count(b"EVALSHA") == 1


async def test_a_join_is_made_over_the_next_connection_if_that_of_its_turn_is_lost(world: World) -> None:
    await connected(world)
    joining = asyncio.create_task(world.presence.join(ATTEMPT))
    await asyncio.sleep(0)
    world.client.follow(("another", 1))
    assert (await joining).generation == 7
    assert names(world).count(b"EVALSHA") == 1


async def test_an_error_of_the_registration_reaches_all_joins_of_the_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connected(world)
    joins = [asyncio.create_task(world.presence.join(ATTEMPT)) for _ in range(2)]

    def tell(*arguments: Any, **_: Any) -> None:
        raise KeyError(arguments)

    # The registration itself is a native class of the compiled build.
    monkeypatch.setattr(world.client, "tell", tell)
    async with asyncio.timeout(5):
        results = await asyncio.gather(*joins, return_exceptions=True)
    assert [type(result) for result in results] == [KeyError, KeyError]


async def test_a_join_that_fails_after_its_reply_does_not_keep_the_next_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connected(world)
    joins = [asyncio.create_task(world.presence.join(ATTEMPT)) for _ in range(2)]
    send_script, failures = world.client.send_script, [KeyError("first")]

    def send(script: Script, keys: Any, arguments: Any, done: Done) -> None:
        if script is JOIN and failures:
            done(Unavailable("no connection"))
            raise failures.pop()
        send_script(script, keys, arguments, done)

    monkeypatch.setattr(world.client, "send_script", send)
    async with asyncio.timeout(5):
        failed, joined = await asyncio.gather(*joins, return_exceptions=True)
    assert isinstance(failed, Unavailable)
    assert joined.generation == 7


async def test_a_join_that_was_never_sent_tells_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await connected(world)
    monkeypatch.setattr(presence, "_WAITS", (0,))
    joining = asyncio.create_task(world.presence.join(ATTEMPT))
    await asyncio.sleep(0)
    world.client.follow(("another", 1))
    with pytest.raises(Unavailable, match="before the join could be sent"):
        await joining


async def test_a_watched_room_shows_with_the_join(world: World) -> None:
    world.answer({JOIN: lambda command: JOINED})
    assert not (await world.presence.join(ATTEMPT)).watched
    world.answer({JOIN: lambda command: JOINED.removesuffix(b":0\r\n") + b":1\r\n"})
    assert (await world.presence.join(ATTEMPT)).watched
