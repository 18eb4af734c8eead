"""Workers over a real Redis Cluster: slots that move, and shards that are lost, while rooms talk."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import httpx2 as httpx
import pytest

from relay.backend.redis.cluster.slots import slot_of_key, slot_of_tag
from tests.clusters import Cluster, shares
from tests.conftest import MakeClient, MakeRelay
from tests.fleet import Client, Relay, eventually

pytestmark = [pytest.mark.gateways, pytest.mark.timeout(240)]

SETTINGS = {"publish_timeout": 3, "reconnect_grace": 60}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Three masters without replicas, for one test."""
    cluster = Cluster()
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture
def replicated() -> Iterator[Cluster]:
    """Three masters with a replica each, for one test."""
    cluster = Cluster(replicas=True)
    try:
        yield cluster.start()
    finally:
        cluster.close()


def room_at(shard: int, name: str = "room", masters: int = 3) -> str:
    """A room in the slots of one master, as they are at the beginning."""
    first, last = shares(masters)[shard]
    return next(room for number in range(10_000) if first <= slot_of_tag(room := f"{name}{number}") <= last)


async def pair(enter: MakeClient, relays: list[Relay], room: str) -> tuple[Client, Client]:
    """Two clients of a room, on two workers."""
    ann = await enter(relays[0], f"/rooms/{room}?peer=ann")
    ben = await enter(relays[1], f"/rooms/{room}?peer=ben")
    return ann, ben


async def said(client: Client, text: str) -> str:
    """Publish until Redis has taken the message; return its id."""

    async def taken() -> str:
        answer = await client.ask({"type": "publish", "envelope": {"message": text}})
        return str(answer.get("id", ""))

    return str(await eventually(taken, 60))


async def talk(client: Client, other: Client, text: str) -> None:
    await said(client, text)
    assert await other.until(lambda event: event.get("message") == text, 60)


async def test_a_node_that_stood_still_executes_nothing_that_its_worker_has_given_up(
    start: MakeRelay, enter: MakeClient, cluster: Cluster
) -> None:
    relays = [await start(redis_url=cluster.url, **SETTINGS | {"publish_timeout": 1}) for _ in range(2)]
    room = room_at(0)
    ann, ben = await pair(enter, relays, room)
    await talk(ann, ben, "before")
    node = cluster.owner(slot_of_tag(room))
    node.signal(signal.SIGSTOP)
    try:
        answer = await ann.ask({"type": "publish", "envelope": {"message": "during"}})
        assert answer["code"] == "outcome_unknown"
        # The worker knows the clock of Redis to some milliseconds, and no other master leads as soon as that.
        await asyncio.sleep(0.1)
    finally:
        node.signal(signal.SIGCONT)
    await said(ann, "after")
    heard = await ben.until(lambda event: event.get("message") == "after", 60)
    assert "during" not in [event.get("message") for event in heard]


async def numbered(client: Client, other: Client, stop: asyncio.Event) -> list[int]:
    """Send numbers until told to stop; return those that the other one has heard, after the last one arrived."""
    heard, last = list[int](), -1

    async def send() -> None:
        nonlocal last
        while not stop.is_set():
            answer = await client.ask({"type": "publish", "envelope": {"message": last + 1}})
            assert answer["type"] == "ack", answer
            last += 1

    async def hear() -> None:
        while True:
            event = await other.next(60)
            if isinstance(event.get("message"), int):
                heard.append(event["message"])

    hearing = asyncio.create_task(hear())
    await send()
    await eventually(lambda: heard and heard[-1] == last, 30)
    hearing.cancel()
    return heard


@pytest.mark.smoke
async def test_rooms_of_all_shards_talk_across_workers(
    start: MakeRelay, enter: MakeClient, cluster_url: str, prefix: str
) -> None:
    relays = [await start(redis_url=cluster_url, redis_prefix=prefix, shards_needed="all") for _ in range(2)]
    for shard in range(3):
        room = room_at(shard)
        ann, ben = await pair(enter, relays, room)
        await talk(ann, ben, "hello")
        await talk(ben, ann, "answer")
        assert {member["peer"] for member in (await relays[0].describe(room))["members"]} == {"ann", "ben"}
    rooms = (await relays[1].get("/rooms", headers=relays[1].authorised)).json()["rooms"]
    assert {one["room"] for one in rooms} == {room_at(shard) for shard in range(3)}


def connections(cluster: Cluster, workers: Sequence[str]) -> list[list[int]]:
    """How many connections each worker has to each master."""
    found = []
    for node in cluster.masters:
        with node.client as client:
            names = [str(one["name"]) for one in client.client_list()]
        found.append([names.count(f"relay-{worker}") for worker in workers])
    return found


async def test_a_worker_has_two_connections_to_each_master_however_many_rooms_there_are(
    start: MakeRelay, enter: MakeClient, redis_cluster: Cluster, prefix: str
) -> None:
    workers = [f"{prefix.rpartition(':')[2]}-{number}" for number in range(2)]
    relays = [
        await start(redis_url=redis_cluster.url, redis_prefix=prefix, worker_id=worker, quick={}, shards_needed="all")
        for worker in workers
    ]
    # One for commands, and one for subscriptions. The first look at the cluster has a connection of its own.
    expected = [[2, 2]] * len(redis_cluster.masters)
    await eventually(lambda: connections(redis_cluster, workers) == expected)
    for number in range(20):
        ann, ben = await pair(enter, relays, f"room{number}")
        await talk(ann, ben, "hello")
    await eventually(lambda: connections(redis_cluster, workers) == expected)


async def test_a_slot_moves_while_its_room_talks(start: MakeRelay, enter: MakeClient, cluster: Cluster) -> None:
    relays = [await start(redis_url=cluster.url, **SETTINGS) for _ in range(2)]
    room = room_at(0)
    slot = slot_of_tag(room)
    ann, ben = await pair(enter, relays, room)
    stop = asyncio.Event()
    talking = asyncio.create_task(numbered(ann, ben, stop))
    for target in (1, 2, 0, 1):
        await asyncio.sleep(0.3)
        await asyncio.to_thread(cluster.move_slot, slot, cluster.masters[target])
    await asyncio.sleep(0.5)
    stop.set()
    heard = await talking
    assert heard == list(range(len(heard)))
    assert {member["peer"] for member in (await relays[0].describe(room))["members"]} == {"ann", "ben"}


async def test_one_lost_shard_leaves_the_rooms_of_the_others_alone(
    start: MakeRelay, enter: MakeClient, cluster: Cluster
) -> None:
    relays = [await start(redis_url=cluster.url, **SETTINGS | {"worker_lease": 2}) for _ in range(2)]
    lost, kept = room_at(0), room_at(2)
    ann, ben = await pair(enter, relays, lost)
    cid, dan = await pair(enter, relays, kept)
    await talk(ann, ben, "before")
    cluster.masters[0].kill()
    await talk(cid, dan, "the others go on")
    answer = await ann.ask({"type": "publish", "envelope": {"message": "nowhere"}})
    assert (answer["type"], answer["code"]) == ("error", "unavailable")
    # New rooms there are refused, and those elsewhere are not: also when the leases at the lost shard are over.
    await asyncio.sleep(2.5)
    eve = await enter(relays[0], f"/rooms/{lost}?peer=eve")
    assert (eve.welcome["type"], eve.welcome["code"]) == ("error", "unavailable")
    await enter(relays[0], f"/rooms/{room_at(2, 'other')}?peer=eve")
    await talk(dan, cid, "and come in")
    await eventually(lambda: deaf(relays[0]), 30)
    await eventually(relays[0].healthy)
    cluster.masters[0].start()
    await talk(ann, ben, "after")
    await eventually(lambda: hearing(relays[0]), 30)

    async def both() -> bool:
        return {member["peer"] for member in (await relays[0].describe(lost))["members"]} == {"ann", "ben"}

    # Each worker announces its members again when it notices that the shard has lost its data.
    assert await eventually(both, 30)


async def test_a_shard_that_takes_no_writes_leaves_the_rooms_of_the_others_alone(
    start: MakeRelay, enter: MakeClient, cluster: Cluster
) -> None:
    relays = [await start(redis_url=cluster.url, shards_needed=needed, **SETTINGS) for needed in ("any", "all")]
    refusing, kept = room_at(0), room_at(2)
    ann, ben = await pair(enter, relays, refusing)
    cid, dan = await pair(enter, relays, kept)
    with cluster.masters[0].client as master:
        master.config_set("min-replicas-to-write", 1)
    # The first refusals: of a join, and of the lease of the room that the client leaves by that.
    eve = await enter(relays[0], f"/rooms/{room_at(0, 'other')}?peer=eve")
    assert (eve.welcome["type"], eve.welcome["code"]) == ("error", "unavailable")
    await eventually(lambda: deaf(relays[0], "NOREPLICAS"), 30)
    assert await relays[0].metric("relay_redis_deaf_shards") == 1
    await eventually(lambda: relays[1].healthy(503), 30)
    # By then the upkeep of the first worker has met refusals as well.
    assert await relays[0].healthy()
    await enter(relays[0], f"/rooms/{room_at(2, 'other')}?peer=eve")
    await talk(cid, dan, "the others go on")
    with cluster.masters[0].client as master:
        master.config_set("min-replicas-to-write", 0)
    await talk(ann, ben, "after")
    await eventually(lambda: hearing(relays[0]), 30)
    await eventually(relays[1].healthy)
    assert "accepts the commands of this worker again" in relays[0].logged


async def test_rooms_are_listed_while_a_shard_is_lost(start: MakeRelay, enter: MakeClient, cluster: Cluster) -> None:
    relay = await start(redis_url=cluster.url, **SETTINGS)
    rooms = [room_at(shard) for shard in range(3)]
    for room in rooms:
        await enter(relay, f"/rooms/{room}?peer=ann")
    listed = (await relay.get("/rooms", headers=relay.authorised)).json()
    assert ({one["room"] for one in listed["rooms"]}, "incomplete" in listed) == ({*rooms}, False)
    cluster.masters[0].kill()
    await eventually(lambda: deaf(relay), 30)
    began = time.monotonic()
    for path in ("/rooms", "/rooms?prefix=room"):
        listed = (await relay.get(path, headers=relay.authorised)).json()
        assert {one["room"] for one in listed["rooms"]} == {*rooms[1:]}
        assert listed["incomplete"] is True
        assert f"127.0.0.1:{cluster.masters[0].port}: connection refused" in listed["reason"]
    # Not only after the time for which a command waits for its node.
    assert time.monotonic() - began < SETTINGS["publish_timeout"]
    one = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "relay", "rooms", "--json", env=os.environ | {"RELAY_REDIS_URL": cluster.url},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, errors = await one.communicate()
    assert ({found["room"] for found in json.loads(out)}, one.returncode) == ({*rooms[1:]}, 3)
    assert b"the list is incomplete" in errors
    for master in cluster.masters[1:]:
        master.kill()
    assert (await relay.get("/rooms", headers=relay.authorised)).status_code == 503


async def test_a_new_worker_is_ready_while_the_shard_of_the_fleet_key_is_lost(
    start: MakeRelay, enter: MakeClient, cluster: Cluster
) -> None:
    old = await start(redis_url=cluster.url, **SETTINGS)
    at = slot_of_key("relay:fleet-key")
    shard = next(number for number, (first, last) in enumerate(shares(3)) if first <= at <= last)
    cluster.masters[shard].kill()
    new = await start(redis_url=cluster.url, **SETTINGS)
    await eventually(new.healthy, 30)
    assert (await enter(new, f"/rooms/{room_at((shard + 1) % 3)}?peer=ann")).welcome["type"] == "welcome"
    assert await old.metric("relay_fleet_key_changes_total") == await new.metric("relay_fleet_key_changes_total") == 0


async def test_a_lost_shard_refuses_at_once_what_would_wait_in_vain(
    start: MakeRelay, enter: MakeClient, cluster: Cluster
) -> None:
    relay = await start(redis_url=cluster.url, **SETTINGS | {"publish_timeout": 1})
    lost, kept = room_at(0), room_at(2)
    ann = await enter(relay, f"/rooms/{lost}?peer=ann")
    cluster.masters[0].kill()

    async def refused_at_once() -> bool:
        began = time.monotonic()
        refused = (await relay.get(f"/rooms/{lost}", headers=relay.authorised)).json()["error"]
        assert refused["code"] == "unavailable"
        assert "part of the Redis cluster" in refused["text"]
        return time.monotonic() - began < 0.5

    await eventually(refused_at_once, 30)
    began = time.monotonic()
    eve = await enter(relay, f"/rooms/{lost}?peer=eve")
    assert eve.welcome["code"] == "unavailable"
    assert "the part of the Redis cluster that has this room is away; other rooms go on" in eve.welcome["text"]
    async with httpx.AsyncClient(headers=relay.authorised) as server:
        locked = await server.put(f"{relay.http}/rooms/{lost}", json={"locked": True})
    assert (locked.status_code, locked.headers["Retry-After"]) == (503, "2")
    assert time.monotonic() - began < 1
    # A message of a member waits for Redis all the same.
    began = time.monotonic()
    answer = await ann.ask({"type": "publish", "envelope": {"message": "nowhere"}})
    assert answer["code"] == "unavailable"
    assert time.monotonic() - began > 0.9
    fay = await enter(relay, f"/rooms/{kept}?peer=fay")
    assert fay.welcome["type"] == "welcome"
    cluster.masters[0].start()

    async def entered() -> bool:
        return (await enter(relay, f"/rooms/{lost}?peer=gus")).welcome["type"] == "welcome"

    # As soon as the connections are back, and not only when the next probe is.
    assert await eventually(entered, 30)


async def test_a_master_without_memory_bars_no_rooms_of_the_others(
    start: MakeRelay, enter: MakeClient, cluster: Cluster
) -> None:
    relays = [await start(redis_url=cluster.url, **SETTINGS) for _ in range(2)]
    short, ample = room_at(0), room_at(2)
    ann, ben = await pair(enter, relays, short)
    cid, dan = await pair(enter, relays, ample)
    with cluster.masters[0].client as master:
        master.config_set("maxmemory", 1000)

    async def named(relay: Relay) -> bool:
        check = (await relay.get("/health", headers=relay.authorised)).json()["checks"]["memory"]
        return not check["ok"] and f"the maxmemory of shard 127.0.0.1:{cluster.masters[0].link_port} " in check["text"]

    for relay in relays:
        await eventually(lambda relay=relay: named(relay), 30)  # type: ignore[misc]
    for room, code in ((short, "memory_low"), (room_at(0, "other"), "memory_low"), (ample, None)):
        eve = await enter(relays[0], f"/rooms/{room}?peer=eve")
        assert eve.welcome.get("code") == code
    assert (await enter(relays[1], f"/rooms/{room_at(2, 'other')}?peer=eve")).welcome["type"] == "welcome"
    # Messages go on everywhere; those of the other rooms are stored as well.
    await talk(cid, dan, "stored")
    assert await relays[0].metric("relay_unstored_messages_total") == 0
    await talk(ann, ben, "delivered")
    assert await relays[0].metric("relay_unstored_messages_total") == 1


async def test_a_setting_takes_workers_out_when_a_shard_is_lost(start: MakeRelay, cluster: Cluster) -> None:
    relay = await start(redis_url=cluster.url, shards_needed="all", **SETTINGS)
    cluster.masters[1].kill()
    await eventually(lambda: relay.healthy(503), 30)


async def test_a_replica_takes_the_part_of_a_lost_master(
    start: MakeRelay, enter: MakeClient, replicated: Cluster
) -> None:
    relays = [await start(redis_url=replicated.url, **SETTINGS) for _ in range(2)]
    room = room_at(1)
    ann, ben = await pair(enter, relays, room)
    await talk(ann, ben, "before")
    lost = replicated.masters[1]
    lost.kill()
    await replicated.failed_over(slot_of_tag(room), lost)
    await talk(ann, ben, "after")
    await talk(ben, ann, "answer")
    assert {member["peer"] for member in (await relays[0].describe(room))["members"]} == {"ann", "ben"}


async def test_a_master_that_was_replaced_while_it_was_paused_is_left(
    start: MakeRelay, enter: MakeClient, replicated: Cluster
) -> None:
    relays = [await start(redis_url=replicated.url, **SETTINGS) for _ in range(2)]
    room = room_at(1)
    ann, ben = await pair(enter, relays, room)
    await talk(ann, ben, "before")
    paused = replicated.masters[1]
    paused.signal(signal.SIGSTOP)
    await replicated.failed_over(slot_of_tag(room), paused)
    await talk(ann, ben, "after")
    paused.signal(signal.SIGCONT)
    await talk(ben, ann, "answer")


async def deaf(relay: Relay, why: str = "") -> bool:
    """Whether `/health` says that a shard is deaf, and why."""
    check = (await relay.get("/health", headers=relay.authorised)).json()["checks"]["shards"]
    return not check["ok"] and "shard 127.0.0.1:" in check["text"] and why in check["text"]


async def hearing(relay: Relay) -> bool:
    """Whether all shards are heard."""
    return bool((await relay.get("/health", headers=relay.authorised)).json()["checks"]["shards"]["ok"])
