"""Attempts to connect that arrive late, twice, or of which the answer is lost; and lost acknowledgements."""

import asyncio
import signal

from tests.chaos.arena import Arena
from tests.chaos.fault import SHORT, touched, wait
from tests.chaos.network import Doom, Double

_MOMENTS = (
    (b"GET /", True),
    (b" 101 ", False),
    (b'"type":"welcome"', False),
    (b'"type":"recovered"', False),
    (b'"type":"ack"', False),
)
"""Data after which an attempt is lost, and whether it goes to the relay."""


def _drop_all(arena: Arena) -> None:
    for post in arena.posts:
        post.front.reset()


async def park_at_redis(arena: Arena) -> None:
    """Redis stands still while all clients lose their connections, give attempts up, and ask the next worker."""
    _drop_all(arena)
    await asyncio.sleep(arena.draw.uniform(0.0, 0.4))
    arena.redis.signal(signal.SIGSTOP)
    for _ in range(2):
        await asyncio.sleep(arena.draw.uniform(0.7, 1.0) * arena.slow)
        # Some give up earlier than others, at any moment.
        for member in arena.draw.sample(list(arena.members.values()), len(arena.members) // 4):
            member.drop()
    arena.redis.signal(signal.SIGCONT)
    arena.over()
    await arena.show("nobody came back", lambda: any(member.reconnects for member in arena.members.values()))


async def park_at_worker(arena: Arena) -> None:
    """A worker stands still, for less than its lease, while clients ask it, give up, and ask the next one."""
    for post in arena.draw.sample(arena.posts, 2):
        post.relay.signal(signal.SIGSTOP)
        _drop_all(arena)
        await asyncio.sleep(arena.slow + arena.draw.uniform(0.1, 0.6))
        post.relay.signal(signal.SIGCONT)
        arena.over()
        await wait(arena, SHORT)
    await arena.show("nobody came back", lambda: any(member.reconnects for member in arena.members.values()))


async def lose_attempts(arena: Arena) -> None:
    """Connections are reset at several moments of joining, for the client at once, for the relay at once or later."""

    def doom() -> Doom | None:
        if arena.draw.random() < 0.4:
            return None
        mark, up = arena.draw.choice(_MOMENTS)
        return Doom(mark, up, arena.draw.choice((0.0, arena.draw.uniform(0.0, 1.0))))

    await _strike_attempts(arena, lambda post: setattr(post.front, "doom", doom))
    for post in arena.posts:
        post.front.doom = lambda: None
    arena.over()
    await touched(arena, *(post.front for post in arena.posts))


async def double_attempts(arena: Arena) -> None:
    """A copy of each attempt reaches another worker a little earlier, and hangs there for a while."""

    def double(port: int) -> Double | None:
        return Double(_another(arena, port), arena.draw.uniform(0.02, 0.1), arena.draw.uniform(0.0, 1.0))

    await _strike_attempts(arena, lambda post: setattr(post.front, "double", lambda: double(post.relay.port)))
    for post in arena.posts:
        post.front.double = lambda: None
    arena.over()
    await touched(arena, *(post.front for post in arena.posts))


async def race_attempts(arena: Arena) -> None:
    """Each attempt asks two workers at once; the client takes the first answer, and the other connection is reset."""
    await _strike_attempts(arena, lambda post: setattr(post.front, "rival", lambda: _another(arena, post.relay.port)))
    for post in arena.posts:
        post.front.rival = lambda: None
    arena.over()
    await touched(arena, *(post.front for post in arena.posts))


def _another(arena: Arena, port: int) -> int:
    return arena.draw.choice([post.relay.port for post in arena.posts if post.relay.port != port])


async def _strike_attempts(arena: Arena, begin) -> None:
    for post in arena.posts:
        begin(post)
    for _ in range(3):
        for member in arena.draw.sample(list(arena.members.values()), len(arena.members) // 2):
            member.drop()
        await wait(arena, SHORT)


async def lose_acknowledgements(arena: Arena) -> None:
    """Connections of all clients are reset between a message and its acknowledgement."""

    def doom() -> Doom | None:
        mark = arena.draw.choice((b"43/rooms/", b'"type":"ack"'))
        return Doom(mark, False, arena.draw.choice((0.0, 0.3))) if arena.draw.random() < 0.7 else None

    for post in arena.posts:
        post.front.doom = doom
        post.front.reset()
    for _ in range(6):
        await wait(arena, SHORT)
        for member in arena.draw.sample(list(arena.members.values()), len(arena.members) // 6):
            member.drop()
    for post in arena.posts:
        post.front.doom = lambda: None
    arena.over()
    await touched(arena, *(post.front for post in arena.posts))
