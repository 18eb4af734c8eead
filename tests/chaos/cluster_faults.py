"""Faults of a cluster: slots that move, masters that are lost, and connections that end."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from relay.backend.redis.cluster.slots import slot_of_tag
from tests.chaos.arena import Arena
from tests.chaos.fault import CUT, SHORT, counted, touched, wait
from tests.clusters import Cluster, Node, follow
from tests.fleet import eventually

STAYS = {"reconnect_grace": 15.0, "publish_timeout": 3.0}
"""Settings of workers: members stay while a replica takes over, which takes about 5 s."""

SAFE = {**STAYS, "durability": "replicas=1"}
"""A message is acknowledged when the replica has it."""

PAUSES = 4
"""Seconds, with the two of every fault, within which delivery is whole after a new master takes writes."""


_BETWEEN, _BETWEEN_TIME = 4, 0.7
"""Messages of each member while its slot is between two masters, and the seconds for which it stays there."""

_LARGE = 17_000
"""Bytes of every other one: such messages are served in turns. A room has less of them than a replay may."""


def _cluster(arena: Arena) -> Cluster:
    assert arena.cluster is not None
    return arena.cluster


def _slots(arena: Arena) -> Iterator[int]:
    """The slots of the rooms, in an order of chance."""
    rooms = sorted(arena.expected)
    return (slot_of_tag(room) for room in arena.draw.sample(rooms, len(rooms)))


async def move_slots(arena: Arena) -> None:
    """The slots of all rooms go to other masters, one after the other, each with a pause in the middle of its keys."""
    cluster = _cluster(arena)
    for slot in _slots(arena):
        owner = await asyncio.to_thread(cluster.owner, slot)
        target = arena.draw.choice([node for node in cluster.masters if node is not owner])
        pause = arena.draw.uniform(0.0, 0.3)
        await asyncio.to_thread(cluster.move_slot, slot, target, pause=partial(time.sleep, pause))
    arena.over()


async def add_node(arena: Arena) -> None:
    """A fourth master gets a quarter of the rooms, as when a cluster grows."""
    cluster = _cluster(arena)
    new = await asyncio.to_thread(cluster.grow)
    slots = list(_slots(arena))
    for slot in slots[: max(1, len(slots) // 4)]:
        await asyncio.to_thread(cluster.move_slot, slot, new)
    arena.over()


async def kill_master(arena: Arena) -> None:
    """kill -9 of a master; it comes back when its replica has taken its part."""
    cluster = _cluster(arena)
    slot = next(_slots(arena))
    lost = await asyncio.to_thread(cluster.owner, slot)
    arena.excused |= arena.members.keys()
    lost.kill()
    await cluster.failed_over(slot, lost)
    arena.over()
    await wait(arena, SHORT)
    await asyncio.to_thread(lost.start)
    await _has_replica(arena, lost)


async def _has_replica(arena: Arena, lost: Node) -> None:
    """Wait until a master of the past is the replica of the new one: before, a sender gets no acknowledgement.

    Clients send a few messages ahead of their acknowledgements, and no more: delivery cannot be whole before.
    """
    await asyncio.to_thread(lost.wait_for_master)
    arena.over()


async def pause_master(arena: Arena) -> None:
    """A master that is stopped until its replica has its part, and then executes the commands that workers had sent."""
    cluster = _cluster(arena)
    slot = next(_slots(arena))
    paused = await asyncio.to_thread(cluster.owner, slot)
    arena.excused |= arena.members.keys()
    paused.signal(signal.SIGSTOP)
    await cluster.failed_over(slot, paused)
    await asyncio.sleep(arena.draw.uniform(0.0, 0.5))
    paused.signal(signal.SIGCONT)
    arena.over()
    await _has_replica(arena, paused)


async def lose_shard(arena: Arena) -> None:
    """kill -9 of a master without a replica, which comes back with its data."""
    cluster = _cluster(arena)
    lost = await asyncio.to_thread(cluster.owner, next(_slots(arena)))
    lost.kill()
    await wait(arena, SHORT)
    await asyncio.to_thread(lost.start)
    await eventually(lambda: asyncio.to_thread(lambda: lost.info()["cluster_state"] == "ok"), 30)
    arena.over()


async def restart_all(arena: Arena) -> None:
    """Each master is killed and started again, one after the other; its replica takes its part and gives it back."""
    cluster = _cluster(arena)
    arena.excused |= arena.members.keys()
    for old, replica in zip(list(cluster.masters), list(cluster.replicas), strict=True):
        await asyncio.to_thread(_hand_over, old, replica)
        old.kill()
        await wait(arena, SHORT)
        await asyncio.to_thread(old.start)
        await asyncio.to_thread(follow, old, replica)
    arena.over()


def _hand_over(old: Node, replica: Node) -> None:
    """Have a replica take the part of its living master."""
    replica.ask("FAILOVER")
    replica.wait_to_lead()


async def kill_connections(arena: Arena) -> None:
    """CLIENT KILL: all masters end all connections, three times."""
    cluster = _cluster(arena)
    for _ in range(3):
        for node in cluster.masters:
            await asyncio.to_thread(_end_connections, node)
        arena.over()
        await wait(arena, SHORT)
    for post in arena.posts:
        await arena.show("a worker lost no connection", lambda post=post: counted(post, "relay_redis_reconnects_total"))


async def cut_off_master(arena: Arena) -> None:
    """No worker reaches one master, which its replica and the other nodes reach."""
    cluster = _cluster(arena)
    lost = await asyncio.to_thread(cluster.owner, next(_slots(arena)))
    networks = [post.shards.networks[lost] for post in arena.posts if post.shards]
    for network in networks:
        network.refusing = True
        network.reset()
    await wait(arena, CUT)
    for network in networks:
        network.refusing = False
    arena.over()
    await touched(arena, *networks)


async def fail_over_and_drain(arena: Arena) -> None:
    """A replica takes the part of its master while a worker sends its clients away and ends."""
    cluster, post = _cluster(arena), arena.post
    number = arena.draw.randrange(len(cluster.masters))
    arena.excused |= arena.members.keys()
    ending = asyncio.create_task(post.relay.terminate())
    await asyncio.to_thread(_hand_over, cluster.masters[number], cluster.replicas[number])
    if status := await ending:
        arena.unproven.append(f"a worker ended after SIGTERM with status {status}")
    await post.start()
    arena.over()


async def stop_between(arena: Arena) -> None:
    """Slots stay between two masters while their rooms send large and small messages in turns."""
    cluster, loop = _cluster(arena), asyncio.get_running_loop()
    rooms = arena.draw.sample(sorted(arena.expected), 4)
    for room in rooms:
        slot = slot_of_tag(room)
        owner = await asyncio.to_thread(cluster.owner, slot)
        target = arena.draw.choice([node for node in cluster.masters if node is not owner])
        members = [member for name, member in arena.members if name == room]

        def say(room: str = room, members: Sequence[str] = members) -> None:
            for number in range(_BETWEEN):
                for member in members:
                    arena.say(room, member, size=_LARGE if number % 2 else 10)

        def pause(say: Callable[[], None] = say) -> None:
            loop.call_soon_threadsafe(say)
            time.sleep(_BETWEEN_TIME)

        await asyncio.to_thread(cluster.move_slot, slot, target, pause=pause)
    arena.over()
    if not await asyncio.to_thread(lambda: sum(map(_tried_again, cluster.masters))):
        arena.unproven.append("no command met keys that were half moved")


def _tried_again(node: Node) -> int:
    with node.client as client:
        return int(client.info("errorstats").get("errorstat_TRYAGAIN", {}).get("count", 0))


def _end_connections(node: Node) -> None:
    with node.client as client:
        client.execute_command("CLIENT", "KILL", "USER", "relay")
