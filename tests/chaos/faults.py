"""Every fault, from its beginning to its end; what happens in between is for the ledger to say."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.arena import SETTINGS, Arena

Strike = Callable[[Arena], Awaitable[None]]
SHORT, LONG = (0.3, 1.5), (2.0, 4.0)


@dataclass(frozen=True)
class Fault:
    """`strike` returns when the fault is over.

    Where Redis `forgets`, or a client does not read, not everything can be had back; then it is to be told.
    """

    name: str
    strike: Strike
    forgets: bool = False
    does_not_read: bool = False
    fakes_time: bool = False

    @property
    def may_lose(self) -> bool:
        """Whether members may be told that something was missed."""
        return self.forgets or self.does_not_read


async def _wait(arena: Arena, span: tuple[float, float]) -> None:
    await asyncio.sleep(arena.draw.uniform(*span))


async def kill_worker(arena: Arena) -> None:
    """kill -9, and another worker in its place a while later."""
    post = arena.post
    post.relay.signal(signal.SIGKILL)
    await _wait(arena, SHORT)
    await post.start()


async def rolling_restart(arena: Arena) -> None:
    """SIGTERM to one worker after the other."""
    for post in arena.posts:
        await post.relay.terminate()
        await post.start()


async def pause_worker(arena: Arena) -> None:
    """A worker that is stopped for longer than its lease."""
    post = arena.post
    post.relay.signal(signal.SIGSTOP)
    await asyncio.sleep(SETTINGS["lease"] + arena.draw.uniform(0.5, 2))
    post.relay.signal(signal.SIGCONT)


async def restart_redis(arena: Arena) -> None:
    """kill -9 of Redis, which comes back with its data."""
    arena.redis.kill()
    await _wait(arena, SHORT)
    await asyncio.to_thread(arena.redis.start)


async def empty_redis(arena: Arena) -> None:
    """kill -9 of Redis, which comes back with nothing."""
    arena.redis.kill()
    arena.redis.forget()
    await _wait(arena, SHORT)
    await asyncio.to_thread(arena.redis.start)


async def pause_redis(arena: Arena) -> None:
    """A Redis that answers nothing for five seconds."""
    arena.redis.signal(signal.SIGSTOP)
    await asyncio.sleep(5)
    arena.redis.signal(signal.SIGCONT)


async def kill_subscribers(arena: Arena) -> None:
    """CLIENT KILL of the subscriptions, several times in bursts of messages."""
    client = arena.redis.client
    for _ in range(3):
        for room, member in list(arena.members)[:20]:
            arena.say(room, member)
            arena.say(room, member)
        await asyncio.sleep(arena.draw.uniform(0.0, 0.02))
        await asyncio.to_thread(client.client_kill_filter, _type="pubsub")
        await _wait(arena, SHORT)


async def cut(arena: Arena) -> None:
    """Connections between a worker and Redis are reset, and no new ones are to be had for a while."""
    back = arena.post.back
    back.refusing = True
    back.reset()
    await _wait(arena, LONG)
    back.refusing = False


async def black_hole(arena: Arena) -> None:
    """What a worker and Redis send each other vanishes."""
    back = arena.post.back
    back.blacken()
    await _wait(arena, LONG)
    back.lighten()


async def slow(arena: Arena) -> None:
    """200 ms more each way between a worker and Redis."""
    back = arena.post.back
    back.delay = 0.2
    await _wait(arena, LONG)
    back.delay = 0.0


async def narrow(arena: Arena) -> None:
    """No more than 20 KB a second between a worker and Redis."""
    back = arena.post.back
    back.rate = 20_000
    await _wait(arena, LONG)
    back.rate = 0.0


async def reset_clients(arena: Arena) -> None:
    """Client sockets are reset, some again and again."""
    for _ in range(3):
        for member in arena.draw.sample(list(arena.members.values()), len(arena.members) // 3):
            member.drop()
        await _wait(arena, SHORT)


async def half_open(arena: Arena) -> None:
    """Clients of one worker hear nothing more of it, nor it of them; both have to notice by themselves."""
    front = arena.post.front
    front.blacken(later=False)
    await _wait(arena, LONG)
    front.reset()
    front.lighten()


async def stuck_readers(arena: Arena) -> None:
    """The clients of one worker stop reading while much is said to them, and read on later."""
    front = arena.post.front
    front.blacken(later=False)
    for room, member in arena.draw.sample(list(arena.members), 4):
        for _ in range(40):
            arena.say(room, member, 20_000)
    await _wait(arena, LONG)
    front.lighten()


async def slow_readers(arena: Arena) -> None:
    """Clients of one worker hear no more than 5 KB a second, and it no more of them."""
    front = arena.post.front
    front.rate = 5000
    await _wait(arena, LONG)
    front.rate = 0.0


async def full_redis(arena: Arena) -> None:
    """Redis has no memory left, and refuses to write."""
    client = arena.redis.client
    await asyncio.to_thread(client.config_set, "maxmemory-policy", "noeviction")
    await asyncio.to_thread(client.config_set, "maxmemory", "1mb")
    await _wait(arena, SHORT)
    await asyncio.to_thread(client.config_set, "maxmemory", "0")


async def jump_clock(arena: Arena) -> None:
    """The clock of one worker jumps an hour ahead, then an hour back; the monotonic one does not."""
    file = Path(arena.posts[-1].environment["FAKETIME_TIMESTAMP_FILE"])
    for offset in ("+1h", "-1h", "+0"):
        await asyncio.to_thread(file.write_text, offset)
        await _wait(arena, SHORT)


FAULTS = (
    Fault("worker killed", kill_worker),
    Fault("rolling restart", rolling_restart),
    Fault("worker paused past its lease", pause_worker),
    Fault("Redis killed, data kept", restart_redis),
    Fault("Redis killed, data lost", empty_redis, forgets=True),
    Fault("Redis paused for 5 s", pause_redis),
    Fault("subscriptions killed in bursts", kill_subscribers),
    Fault("worker cut off from Redis", cut),
    Fault("worker and Redis in a black hole", black_hole),
    Fault("Redis 200 ms further away", slow),
    Fault("20 KB/s to Redis", narrow),
    Fault("client sockets reset", reset_clients),
    Fault("client sockets half open", half_open),
    Fault("slow readers", slow_readers),
    Fault("stuck readers", stuck_readers, does_not_read=True),
    Fault("Redis out of memory", full_redis),
    Fault("clock jumps by an hour", jump_clock, fakes_time=True),
)
