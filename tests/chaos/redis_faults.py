"""A Redis that returns with older data, that loses all of it while members come and go, and rooms that are quiet."""

import asyncio
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from tests.chaos.arena import Arena
from tests.chaos.fault import SHORT, wait
from tests.fleet import Client, RedisServer

QUIET = {"history_ttl": 2.0, "reconnect_grace": 2.0}
"""Settings with which the history of a quiet room ends soon."""

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
    """kill -9 of Redis and of all workers; Redis starts again with the data of a moment ago, with new workers."""
    await arena.prepare_workers()
    await _go_back(arena, workers=True)
    for post in arena.posts:
        await post.ready()
    arena.over()


async def _go_back(arena: Arena, *, workers: bool = False) -> None:
    await asyncio.to_thread(arena.redis.remember)
    await wait(arena, _OLDER)
    arena.excused |= arena.members.keys()
    if workers:
        for post in arena.posts:
            post.relay.signal(signal.SIGKILL)
    arena.redis.kill()
    if workers:
        for post in arena.posts:
            post.replace()
    await asyncio.to_thread(arena.redis.go_back)
    await wait(arena, SHORT)
    await asyncio.to_thread(arena.redis.start)


async def forget_scripts(arena: Arena) -> None:
    """SCRIPT FLUSH, again and again while members come back."""
    for _ in range(3):
        await asyncio.to_thread(arena.redis.client.script_flush)
        for member in arena.draw.sample(list(arena.members.values()), len(arena.members) // 4):
            member.drop()
        arena.over()
        await wait(arena, SHORT)


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
    sleepers = await asyncio.gather(*[_Sleeper.join(arena, room) for room in quiet])
    for number in range(2):
        await asyncio.sleep(QUIET["history_ttl"] * 0.7)
        for room in quiet:
            arena.members[room, f"p{number}"].drop()
    await asyncio.sleep(QUIET["history_ttl"] + 0.5)
    for room in quiet:
        arena.members[room, "p2"].drop()
    await asyncio.gather(*[sleeper.come_back() for sleeper in sleepers])
    arena.over()
    await arena.show("nobody came back", lambda: all(arena.members[room, "p2"].reconnects for room in quiet))
    for sleeper in sleepers:
        await sleeper.leave()
    arena.silence([])


@dataclass
class _Sleeper:
    """A member that knows only the events that it gets: it sends no ping, whose answer would have a newer id."""

    arena: Arena
    room: str
    client: Client

    @classmethod
    async def join(cls, arena: Arena, room: str) -> Self:
        arena.expected[room].add("sleeper")
        return cls(arena, room, await cls._open(arena, room))

    @staticmethod
    async def _open(arena: Arena, room: str, since: str = "", resume: str = "") -> Client:
        query = f"?peer=sleeper&presence=1{since}"
        return await Client.open(f"{arena.url(arena.post)}/rooms/{room}{query}", resume=resume)

    async def come_back(self) -> None:
        """Lose the connection and resume, which must be without a loss."""
        position = self.client.welcome["id"]
        with suppress(TimeoutError):
            while True:
                position = (await self.client.next(0.05)).get("id", position)
        key = self.client.welcome["resume"]
        self.client.lose()
        self.client = await self._open(self.arena, self.room, f"&since={position}", key)
        if not self.client.welcome.get("recovered"):
            self.arena.ledger.told(self.room, "sleeper", self.arena.ended)

    async def leave(self) -> None:
        """Leave the room."""
        self.arena.expected[self.room].discard("sleeper")
        await self.client.close()
