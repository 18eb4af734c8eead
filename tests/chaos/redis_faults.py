"""A Redis that returns with older data, that loses all of it while members come and go, and rooms that are quiet."""

import asyncio
import signal
from contextlib import suppress

from tests.chaos.arena import Arena
from tests.chaos.fault import SHORT, wait
from tests.fleet import Client, RedisServer

_OLDER = (0.4, 1.2)
"""Seconds that a Redis which goes back in time has lost."""


async def fall_back_to_replica(arena: Arena) -> None:
    """Redis dies, and a replica that had not received the last second takes its part."""
    replica = RedisServer().start()
    try:
        await asyncio.to_thread(replica.follow, arena.redis)
        await wait(arena, SHORT)
        await asyncio.to_thread(replica.lead)
        await wait(arena, _OLDER)
        arena.excused |= arena.members.keys()
        arena.redis.kill()
        for post in arena.posts:
            post.back.target = replica.port
            post.back.reset()
    finally:
        arena.redis.replace(replica)
    arena.over()


async def restart_older(arena: Arena) -> None:
    """kill -9 of Redis, which starts again with the data of a moment ago."""
    await _go_back(arena)
    arena.over()


async def restart_older_with_all_workers(arena: Arena) -> None:
    """kill -9 of Redis and of all workers; Redis starts again with the data of a moment ago."""
    await _go_back(arena, workers=True)
    for post in arena.posts:
        post.relay.close()
        post.launch(post.relay.port)
    for post in arena.posts:
        await post.relay.ready()
    arena.over()


async def _go_back(arena: Arena, *, workers: bool = False) -> None:
    await asyncio.to_thread(arena.redis.remember)
    await wait(arena, _OLDER)
    arena.excused |= arena.members.keys()
    if workers:
        for post in arena.posts:
            post.relay.signal(signal.SIGKILL)
    arena.redis.kill()
    await asyncio.to_thread(arena.redis.go_back)
    await wait(arena, SHORT)
    await asyncio.to_thread(arena.redis.start)


async def flush_with_churn(arena: Arena) -> None:
    """FLUSHALL, while others join, leave and vanish in the very second."""
    rooms = arena.draw.sample(list(arena.expected), min(len(arena.expected), 12))
    async with asyncio.TaskGroup() as group:
        for number, room in enumerate(rooms):
            group.create_task(_visit(arena, room, f"visitor{number}"))
        await asyncio.sleep(0.5)
        await asyncio.to_thread(arena.redis.client.flushall)
        arena.excused |= arena.members.keys()
    arena.over()


async def _visit(arena: Arena, room: str, peer: str) -> None:
    """Join within a second, and leave or vanish within another half."""
    await asyncio.sleep(arena.draw.random())
    with suppress(OSError, TimeoutError):
        client = await Client.open(f"{arena.url(arena.post)}/rooms/{room}?peer={peer}")
        await asyncio.sleep(arena.draw.choice((0.0, arena.draw.uniform(0.0, 0.5))))
        if arena.draw.random() < 0.5:
            client.lose()
        else:
            await client.close()


async def stay_quiet(arena: Arena) -> None:
    """Rooms in which nothing is said for longer than the history is stored; members of them come back meanwhile."""
    quiet = list(arena.expected)[::2]
    arena.silence(quiet)
    await asyncio.sleep(0.5)
    for wave in range(2):
        for room in quiet:
            arena.members[room, f"p{wave}"].drop()
        await asyncio.sleep(3.2)
    for room in quiet:
        arena.members[room, "p2"].drop()
    arena.over()
    await arena.show("nobody came back", lambda: all(arena.members[room, "p2"].reconnects for room in quiet))
    arena.silence([])
