"""Faults of workers, of Redis and of the networks between; `FAULTS` lists these and all others."""

import asyncio
import signal
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from tests.chaos.arena import SETTINGS, Arena, Post
from tests.chaos.attempt_faults import (
    double_attempts,
    lose_acknowledgements,
    lose_attempts,
    park_at_redis,
    park_at_worker,
    race_attempts,
)
from tests.chaos.cluster_faults import (
    SAFE as SAFE_SHARD,
)
from tests.chaos.cluster_faults import (
    STAYS,
    add_node,
    kill_connections,
    lose_shard,
    move_slots,
    stop_between,
)
from tests.chaos.cluster_faults import (
    cut_off_master as cut_off_shard,
)
from tests.chaos.cluster_faults import (
    fail_over_and_drain as fail_over_shard_and_drain,
)
from tests.chaos.cluster_faults import (
    kill_master as kill_shard,
)
from tests.chaos.cluster_faults import (
    pause_master as pause_shard,
)
from tests.chaos.cluster_faults import (
    restart_all as restart_masters,
)
from tests.chaos.fault import CUT, LONG, SHORT, Fault, counted, touched, wait
from tests.chaos.gateway_faults import (
    BOSH,
    COMES_BACK,
    FIREBASE,
    HTTP,
    PEERJS,
    RETRY,
    RMC3,
    SIGNALR_CLASSIC,
    SIGNALR_CORE,
    SIP,
    WAITS,
    WEBSYNC,
    XMPP,
    cut_answers,
    move_clients,
)
from tests.chaos.redis_faults import (
    QUIET,
    fall_back_to_replica,
    flush_with_churn,
    forget_scripts,
    restart_older,
    restart_older_with_all_workers,
    stay_quiet,
)
from tests.chaos.rule_faults import flush_locked_rooms, unlock_by_older_data
from tests.chaos.sentinel_faults import (
    ONE_OF_TWO,
    PAUSES,
    SAFE,
    SAFEST,
    UNSAFE,
    cut_off_master,
    fail_over_and_drain,
    kill_master,
    lose_sentinels,
    pause_fenced_master,
    pause_master,
    restart_all,
)
from tests.fleet import Client

_SLOW = 5000


async def kill_worker(arena: Arena) -> None:
    """kill -9 of a worker, and another one on its port a while later."""
    post = arena.post
    post.relay.signal(signal.SIGKILL)
    arena.over()
    await wait(arena, SHORT)
    await post.start()


async def rolling_restart(arena: Arena) -> None:
    """SIGTERM to one worker after the other."""
    for post in arena.posts:
        if status := await post.relay.terminate():
            arena.unproven.append(f"a worker ended after SIGTERM with status {status}")
        arena.over()
        await post.start()


async def pause_worker(arena: Arena) -> None:
    """A worker that is stopped for longer than its lease."""
    post = arena.post
    post.relay.signal(signal.SIGSTOP)
    await asyncio.sleep(SETTINGS["worker_lease"] + arena.draw.uniform(0.5, 2))
    post.relay.signal(signal.SIGCONT)
    arena.over()
    await arena.show("no lease lapsed", lambda: counted(post, "relay_lease_lapses_total"))


async def restart_redis(arena: Arena) -> None:
    """kill -9 of Redis, which starts again with its data."""
    arena.redis.kill()
    await wait(arena, SHORT)
    await asyncio.to_thread(arena.redis.start)
    arena.over()


async def empty_redis(arena: Arena) -> None:
    """kill -9 of Redis, which starts again empty."""
    arena.redis.kill()
    arena.redis.forget()
    arena.excused |= arena.members.keys()
    await wait(arena, SHORT)
    await asyncio.to_thread(arena.redis.start)
    arena.over()


async def pause_redis(arena: Arena) -> None:
    """A Redis that answers nothing for five seconds."""
    arena.redis.signal(signal.SIGSTOP)
    await asyncio.sleep(5)
    arena.redis.signal(signal.SIGCONT)
    arena.over()


async def kill_subscribers(arena: Arena) -> None:
    """CLIENT KILL of the subscriptions, several times in bursts of messages."""
    client = arena.redis.client

    async def subscribed() -> bool:
        return len(await asyncio.to_thread(client.client_list, _type="pubsub")) >= len(arena.posts)

    for _ in range(3):
        await arena.show("a worker had no subscription to kill", subscribed)
        for room, member in list(arena.members)[:20]:
            arena.say(room, member)
            arena.say(room, member)
        await asyncio.sleep(arena.draw.uniform(0.0, 0.02))
        if await asyncio.to_thread(client.client_kill_filter, _type="pubsub") < len(arena.posts):
            arena.unproven.append("a worker had no subscription to kill")
        arena.over()
        await wait(arena, SHORT)


async def cut(arena: Arena) -> None:
    """Connections between a worker and Redis are reset, and no new ones are to be had for a while."""
    back = arena.post.back
    back.refusing = True
    back.reset()
    await wait(arena, CUT)
    back.refusing = False
    arena.over()
    await touched(arena, back)


async def black_hole(arena: Arena) -> None:
    """The network drops all packets between a worker and Redis."""
    back = arena.post.back
    back.blacken()
    await wait(arena, LONG)
    back.lighten()
    arena.over()
    await touched(arena, back)


async def slow(arena: Arena) -> None:
    """200 ms more each way between a worker and Redis."""
    back = arena.post.back
    back.delay = 0.2
    await wait(arena, LONG)
    back.delay = 0.0
    arena.over()
    await touched(arena, back)


async def narrow(arena: Arena) -> None:
    """No more than 5 KB a second between a worker and Redis, which is less than is said."""
    back = arena.post.back
    back.rate = _SLOW
    await wait(arena, LONG)
    back.rate = 0.0
    arena.over()
    await touched(arena, back)


async def reset_clients(arena: Arena) -> None:
    """Client sockets are reset, some again and again."""
    for _ in range(3):
        for member in arena.draw.sample(list(arena.members.values()), len(arena.members) // 3):
            member.drop()
        arena.over()
        await wait(arena, SHORT)
    await arena.show("nobody came back", lambda: any(room.reconnects for room in arena.members.values()))


async def half_open(arena: Arena) -> None:
    """Clients of one worker hear nothing more of it, nor it of them; both have to notice by themselves."""
    post = arena.post
    post.front.blacken(later=False)
    await wait(arena, LONG)
    post.front.reset()
    post.front.lighten()
    arena.over()
    here = [arena.members[place] for place, home in arena.homes.items() if home is post]
    await arena.show("somebody stayed on a dead connection", lambda: all(room.reconnects for room in here))


async def kill_two_workers(arena: Arena) -> None:
    """kill -9 of two of the three workers at once; the last one takes over all members."""
    struck = arena.draw.sample(arena.posts, 2)
    for post in struck:
        post.relay.signal(signal.SIGKILL)
    arena.over()
    await wait(arena, LONG)
    for post in struck:
        await post.start()


async def kill_all_workers(arena: Arena) -> None:
    """kill -9 of all workers at once, and new ones in their places; Redis keeps its data."""
    await arena.prepare_workers()
    for post in arena.posts:
        post.relay.signal(signal.SIGKILL)
    await wait(arena, SHORT)
    for post in arena.posts:
        post.replace()
    for post in arena.posts:
        await post.ready()
    arena.over()


async def mute_worker(arena: Arena) -> None:
    """The bytes that a worker sends do not arrive at its clients; it receives everything that they send."""
    post = arena.post
    post.front.mute = True
    await wait(arena, LONG)
    post.front.mute = False
    post.front.reset()
    arena.over()
    await touched(arena, post.front)


def _elsewhere(arena: Arena, struck: Post) -> set[tuple[str, str]]:
    """Members that came to other workers."""
    return {place for place, home in arena.homes.items() if home is not struck}


async def _speak_past(
    arena: Arena, struck: Post, speakers: Iterable[tuple[str, str]], *, times: int, size: int
) -> None:
    """Say much in rooms that have members on a worker; those on the others hear it without waiting for them."""
    began = asyncio.get_running_loop().time()
    for room, member in speakers:
        for _ in range(times):
            arena.say(room, member, size)
    others = _elsewhere(arena, struck)
    # `since` leaves out events that were on their way before.
    await arena.show("others waited for clients that did not read", lambda: arena.ledger.everybody_heard(others, began))


async def stuck_readers(arena: Arena) -> None:
    """The clients of one worker stop reading while much is said to them, and read on later."""
    post = arena.post
    room, speaker = arena.draw.choice(sorted(_elsewhere(arena, post)))
    # Members that receive nothing reconnect after two seconds, and the relay stops waiting for their old connection.
    # This client does not reconnect: even on a busy machine it stays until more is sent than socket buffers can hold.
    asleep = await Client.open(f"{arena.url(post)}/rooms/{room}?peer=asleep")
    post.front.blacken(later=False)
    arena.excused |= {place for place, home in arena.homes.items() if home is post}
    await _speak_past(arena, post, [(room, speaker)], times=160, size=60_000)
    slow = partial(counted, post, "relay_closed_connections_total", reason="slow")
    await arena.show("nobody was too slow for the relay", slow)
    await wait(arena, SHORT)
    post.front.lighten()
    arena.over()
    asleep.lose()


async def slow_readers(arena: Arena) -> None:
    """Clients of one worker hear no more than 5 KB a second, and it no more of them."""
    post = arena.post
    post.front.rate = _SLOW
    speakers = arena.draw.sample(sorted(_elsewhere(arena, post)), 4)
    await _speak_past(arena, post, speakers, times=40, size=1500)
    await wait(arena, LONG)
    post.front.rate = 0.0
    arena.over()
    await touched(arena, post.front)


async def full_redis(arena: Arena) -> None:
    """Redis has no memory left, and refuses to write."""
    client = arena.redis.client

    async def refused() -> bool:
        return "errorstat_OOM" in await asyncio.to_thread(client.info, "errorstats")

    await asyncio.to_thread(client.config_set, "maxmemory-policy", "noeviction")
    await asyncio.to_thread(client.config_set, "maxmemory", "1mb")
    await wait(arena, SHORT)
    await arena.show("Redis refused nothing", refused)
    await asyncio.to_thread(client.config_set, "maxmemory", "0")
    arena.over()


async def jump_clock(arena: Arena) -> None:
    """The clock of one worker jumps an hour ahead, then an hour back; the monotonic one does not."""
    maps = Path(f"/proc/{arena.posts[-1].relay.process.pid}/maps")
    if "libfaketime" not in await asyncio.to_thread(maps.read_text):
        arena.unproven.append("the worker has a clock of its own")
    file = Path(arena.posts[-1].environment["FAKETIME_TIMESTAMP_FILE"])
    for offset in ("+1h", "-1h", "+0"):
        await asyncio.to_thread(file.write_text, offset)
        arena.over()
        await wait(arena, SHORT)


async def stall_subscription(arena: Arena) -> None:
    """The subscription of one worker delivers nothing for a while; its commands work. Clients come back meanwhile."""
    post = arena.post
    post.back.stall()
    for member in arena.draw.sample(list(arena.members.values()), len(arena.members) // 3):
        await asyncio.sleep(arena.draw.uniform(0.0, 0.1))
        member.drop()
    await wait(arena, LONG)
    post.back.flow()
    arena.over()
    await touched(arena, post.back)


_PATIENT = {"reconnect_grace": 8.0}
"""Time for clients whose attempts fail for seconds, and that wait longer after each."""

FAULTS = (
    Fault("worker killed", kill_worker),
    Fault("two of three workers killed", kill_two_workers, pauses=2),
    Fault("rolling restart", rolling_restart),
    Fault("worker paused past its lease", pause_worker),
    Fault("Redis killed, data kept", restart_redis, pauses=1),
    Fault("Redis killed, data lost", empty_redis, forgets=True, pauses=1),
    Fault("Redis paused for 5 s", pause_redis, pauses=2),
    Fault("subscriptions killed in bursts", kill_subscribers),
    Fault("worker cut off from Redis", cut),
    Fault("worker and Redis in a black hole", black_hole),
    Fault("Redis 200 ms further away", slow),
    Fault("5 KB/s to Redis", narrow),
    Fault("client sockets reset", reset_clients),
    Fault("client sockets half open", half_open),
    Fault("clients hear nothing, but are heard", mute_worker),
    Fault("slow readers", slow_readers),
    Fault("stuck readers", stuck_readers),
    Fault("Redis out of memory", full_redis),
    Fault("clock jumps by an hour", jump_clock, fakes_time=True),
    Fault("subscription stalled", stall_subscription, kinds=("relay.client", "asker", "javascript")),
    Fault("attempts parked at Redis", park_at_redis, settings=_PATIENT, pauses=2, slow=1.0),
    Fault("attempts parked at a worker", park_at_worker, settings=_PATIENT, pauses=2, slow=1.0),
    Fault("attempts lost", lose_attempts, settings=_PATIENT, pauses=4, slow=1.0),
    Fault("attempts doubled", double_attempts, settings=_PATIENT, pauses=2, slow=1.0),
    Fault("two workers asked at once", race_attempts, settings=_PATIENT, pauses=2, slow=1.0),
    Fault("Redis replaced by a lagging replica", fall_back_to_replica, forgets=True),
    Fault("Redis restarted with older data", restart_older, forgets=True),
    Fault(
        "all workers and Redis killed, older data",
        restart_older_with_all_workers,
        forgets=True,
        settings={"reconnect_grace": 12.0},
        pauses=8,
    ),
    Fault("Redis forgets its scripts", forget_scripts),
    Fault("FLUSHALL with churn", flush_with_churn, forgets=True),
    Fault(
        "Socket.IO retries",
        lose_acknowledgements,
        kinds=("relay.client", "socketio", "python"),
        settings=_PATIENT,
        pauses=2,
    ),
    Fault("quiet room past history-ttl", stay_quiet, settings=QUIET),
    Fault("locked rooms, FLUSHALL", flush_locked_rooms, forgets=True, kinds=("relay.client",)),
    Fault("locked rooms, older data", unlock_by_older_data, forgets=True, kinds=("relay.client",)),
    *(
        Fault(f"cluster: {name}", strike, settings=STAYS, pauses=2, masters=3)
        for name, strike in (
            ("slots moved under load", move_slots),
            ("a fourth master", add_node),
            ("connections killed", kill_connections),
            ("a master lost and back", lose_shard),
            ("workers cut off from one master", cut_off_shard),
            ("slots half way, large messages", stop_between),
        )
    ),
    *(
        Fault(f"cluster: {name}", strike, settings=SAFE_SHARD, pauses=PAUSES, masters=3, replicas=1, durable=True)
        for name, strike in (
            ("master killed", kill_shard),
            ("master paused past the failover", pause_shard),
            ("rolling restart of all masters", restart_masters),
            ("failover while a worker drains", fail_over_shard_and_drain),
        )
    ),
    *(
        Fault(f"Sentinel: {name}", strike, settings=settings, pauses=PAUSES, replicas=2, durable=True)
        for name, strike, settings in (
            ("master killed", kill_master, SAFE),
            ("master paused past the failover", pause_master, SAFEST),
            ("majority of sentinels lost", lose_sentinels, SAFE),
            ("workers cut off from the master", cut_off_master, SAFE),
            ("rolling restart of all servers", restart_all, SAFE),
            ("failover while a worker drains", fail_over_and_drain, SAFE),
        )
    ),
    *(
        Fault(
            f"Sentinel, one replica of two: {name}",
            strike,
            settings=ONE_OF_TWO,
            pauses=PAUSES,
            replicas=2,
            durable=True,
        )
        for name, strike in (("master killed", kill_master), ("master paused past the failover", pause_fenced_master))
    ),
    *(
        Fault(f"Sentinel without durability: {name}", strike, forgets=True, settings=UNSAFE, pauses=PAUSES, replicas=2)
        for name, strike in (("master killed", kill_master), ("master paused past the failover", pause_master))
    ),
    *(
        Fault(f"plain HTTP: {name}", strike, kinds=HTTP, settings=COMES_BACK, pauses=RETRY)
        for name, strike in (
            ("worker killed", kill_worker),
            ("worker paused past its lease", pause_worker),
            ("Redis killed, data kept", restart_redis),
            ("connections reset", reset_clients),
            ("responses cut", cut_answers),
            ("clients ask other workers", move_clients),
        )
    ),
    *(
        Fault(f"PeerJS: {name}", strike, kinds=PEERJS, settings=COMES_BACK, pauses=2)
        for name, strike in (
            ("worker killed", kill_worker),
            ("worker paused past its lease", pause_worker),
            ("Redis killed, data kept", restart_redis),
            ("sockets reset", reset_clients),
        )
    ),
    *(
        Fault(f"SignalR 2.x: {name}", strike, kinds=SIGNALR_CLASSIC, settings=COMES_BACK, pauses=RETRY)
        for name, strike in (
            ("worker killed", kill_worker),
            ("worker paused past its lease", pause_worker),
            ("Redis killed, data kept", restart_redis),
            ("connections reset", reset_clients),
        )
    ),
    *(
        Fault(f"SignalR Core: {name}", strike, kinds=SIGNALR_CORE, settings=COMES_BACK, pauses=RETRY)
        for name, strike in (
            ("worker killed", kill_worker),
            ("worker paused past its lease", pause_worker),
            ("Redis killed, data kept", restart_redis),
            ("connections reset", reset_clients),
        )
    ),
    *(
        Fault(f"SIP: {name}", strike, kinds=SIP, settings=COMES_BACK, pauses=2)
        for name, strike in (
            ("worker killed", kill_worker),
            ("sockets reset", reset_clients),
            ("Redis killed, data kept", restart_redis),
        )
    ),
    *(
        Fault(f"XMPP: {name}", strike, kinds=XMPP, settings=COMES_BACK, pauses=2)
        for name, strike in (
            ("worker killed", kill_worker),
            ("sockets reset", reset_clients),
            ("rolling restart", rolling_restart),
            ("Redis killed, data kept", restart_redis),
        )
    ),
    *(
        Fault(f"XMPP over BOSH: {name}", strike, kinds=BOSH, settings=COMES_BACK, pauses=RETRY)
        for name, strike in (
            ("connections reset", reset_clients),
            ("Redis killed, data kept", restart_redis),
        )
    ),
    *(
        Fault(f"WebSync: {name}", strike, kinds=WEBSYNC, settings=COMES_BACK, pauses=RETRY)
        for name, strike in (
            ("worker killed", kill_worker),
            ("all workers killed at once", kill_all_workers),
            ("connections reset", reset_clients),
        )
    ),
    *(
        Fault(f"Firebase: {name}", strike, kinds=FIREBASE, pauses=2)
        for name, strike in (
            ("worker killed", kill_worker),
            ("sockets reset", reset_clients),
            ("Redis killed, data kept", restart_redis),
        )
    ),
    *(
        Fault(f"RTCMultiConnection: {name}", strike, kinds=RMC3, settings=COMES_BACK | WAITS, pauses=2)
        for name, strike in (
            ("connections reset", reset_clients),
            ("worker killed", kill_worker),
            ("Redis killed, data kept", restart_redis),
        )
    ),
)
