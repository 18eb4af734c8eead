"""Faults of a master, its replicas, its sentinels, and the networks between."""

import asyncio
import signal

from tests.chaos.arena import Arena, Post
from tests.chaos.fault import CUT, SHORT, touched, wait
from tests.fleet import RedisServer, eventually
from tests.sentinels import SentinelSet, role

SAFE = {"durability": "replicas=2", "reconnect_grace": 15.0}
"""Settings of workers: a message is acknowledged when both replicas have it. A failover takes about 6 s.

On a busy machine, the sentinels may take the replica that has most for lost, and choose the other one.
"""

SAFEST = {**SAFE, "publish_timeout": 5.0}
"""Workers do not notice a master that is paused until it is over."""

ONE_OF_TWO = {"durability": "replicas=1", "reconnect_grace": 15.0}
"""As in deploy/sentinel, where a master also counts as lost after no less than `publish_timeout`."""

UNSAFE = {"reconnect_grace": 15.0, "publish_timeout": 5.0}

PAUSES = 4
"""Seconds, with the two of every fault, within which delivery is whole after the new master takes writes."""


def _sentinels(arena: Arena) -> SentinelSet:
    assert arena.sentinels is not None
    return arena.sentinels


async def _come_back(server: RedisServer) -> None:
    """Start a server that was the master: it takes itself for one, until the sentinels tell it."""
    await asyncio.to_thread(server.start)


async def kill_master(arena: Arena) -> None:
    """kill -9 of the master; it comes back when a replica has taken its part."""
    sentinels = _sentinels(arena)
    old = sentinels.master
    # When it ends, some may not know events that others have heard.
    arena.excused |= arena.members.keys()
    old.kill()
    await sentinels.failed_over(old)
    arena.over()
    await wait(arena, SHORT)
    await _come_back(old)
    await _follows(arena, old)
    await _has_replicas(arena, old)


async def _has_replicas(arena: Arena, last: RedisServer) -> None:
    """Wait until the master has as many replicas as messages need: before, a sender gets no acknowledgement.

    The sentinels let a master of the past alone for eight seconds. Clients send a few messages ahead of their
    acknowledgements, and no more. So with `durability`, delivery cannot be whole before.
    """
    if "durability" in arena.posts[0].settings:
        await asyncio.to_thread(last.wait_for_master)
        arena.over()


async def _follows(arena: Arena, server: RedisServer) -> None:
    """Wait until the sentinels have made a replica of a server."""
    try:
        await eventually(lambda: asyncio.to_thread(lambda: role(server) == "slave"), 30)
    except TimeoutError:
        arena.unproven.append("the sentinels left a master of the past as it was")


def _written(server: RedisServer) -> int:
    """How many entries were added to histories."""
    with server.client as client:
        return int(client.info("commandstats").get("cmdstat_xadd", {}).get("calls", 0))


async def pause_master(arena: Arena) -> None:
    """A master that is stopped until another one has its part, and then executes the commands that workers had sent."""
    old = _sentinels(arena).master
    before = await asyncio.to_thread(_written, old)
    await pause_fenced_master(arena)
    # The workers' commands waited in its sockets. It executes them first, and hears of the other master later.
    if await asyncio.to_thread(_written, old) <= before:
        arena.unproven.append("the master of the past took no writes")


async def pause_fenced_master(arena: Arena) -> None:
    """The same, where its workers have given up what they had sent, so that it executes none of it."""
    sentinels = _sentinels(arena)
    old = sentinels.master
    arena.excused |= arena.members.keys()
    old.signal(signal.SIGSTOP)
    await sentinels.promoted(old)
    await asyncio.sleep(arena.draw.uniform(0.0, 0.5))
    old.signal(signal.SIGCONT)
    await sentinels.failed_over(old)
    arena.over()
    await _follows(arena, old)
    await _has_replicas(arena, old)


async def lose_sentinels(arena: Arena) -> None:
    """Two of three sentinels are killed, then the master; with the sentinels, another master comes."""
    sentinels = _sentinels(arena)
    old = sentinels.master
    lost = arena.draw.sample(sentinels.sentinels, 2)
    for one in lost:
        one.kill()
    # With one sentinel, workers find the master again.
    for post in arena.posts:
        for network in post.networks:
            network.reset()
    await wait(arena, CUT)
    for post in arena.posts:
        await arena.show("a worker did not find the master with one sentinel", post.relay.healthy)
    arena.excused |= arena.members.keys()
    old.kill()
    await wait(arena, CUT)
    if any(role(server) == "master" for server in sentinels.servers[1:]):
        arena.unproven.append("one sentinel of three made another master")
    for one in lost:
        one.start()
    await sentinels.failed_over(old)
    arena.over()
    await _come_back(old)
    await _follows(arena, old)
    await _has_replicas(arena, old)


async def cut_off_master(arena: Arena) -> None:
    """No worker reaches the master, which the sentinels and the replicas reach."""
    sentinels = _sentinels(arena)
    networks = [post.view.networks[sentinels.master] for post in arena.posts if post.view]
    for network in networks:
        network.refusing = True
        network.reset()
    await wait(arena, CUT)
    for network in networks:
        network.refusing = False
    arena.over()
    await touched(arena, *networks)
    if role(sentinels.master) != "master":
        arena.unproven.append("the sentinels made another master, although they reached this one")


async def restart_all(arena: Arena) -> None:
    """Each server is killed and started again, one after the other, the master when a replica has its part."""
    sentinels = _sentinels(arena)
    old = sentinels.master
    for replica in sentinels.servers[1:]:
        replica.kill()
        await wait(arena, SHORT)
        await asyncio.to_thread(replica.start, old)
        await asyncio.to_thread(replica.wait_for_master)
    arena.excused |= arena.members.keys()
    await sentinels.ask_for_failover()
    new = await sentinels.failed_over(old)
    await _follows(arena, old)
    old.kill()
    await wait(arena, SHORT)
    await asyncio.to_thread(old.start, new)
    arena.over()
    await _has_replicas(arena, old)


async def fail_over_and_drain(arena: Arena) -> None:
    """Another master takes over while a worker sends its clients away and ends."""
    sentinels = _sentinels(arena)
    old, post = sentinels.master, arena.post
    arena.excused |= arena.members.keys()
    ending = asyncio.create_task(_end(post))
    await sentinels.ask_for_failover()
    await sentinels.failed_over(old)
    if status := await ending:
        arena.unproven.append(f"a worker ended after SIGTERM with status {status}")
    await post.start()
    arena.over()
    await _follows(arena, old)
    await _has_replicas(arena, old)


async def _end(post: Post) -> int:
    return await post.relay.terminate()
