"""Acknowledgements that wait for replicas, with a real master and its replicas."""

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest

from tests.conftest import MakeClient, MakeRelay
from tests.fleet import Client, Json, RedisServer, eventually


@pytest.fixture
async def replica(own_redis: RedisServer) -> AsyncIterator[RedisServer]:
    replica = RedisServer()
    await asyncio.to_thread(replica.start)
    try:
        await asyncio.to_thread(replica.follow, own_redis)
        yield replica
    finally:
        replica.signal(signal.SIGCONT)
        replica.close()


async def say(client: Client, text: str, **more: str) -> Json:
    return await client.ask({"type": "publish", "envelope": {"message": text}, **more})


async def test_an_acknowledged_message_is_on_the_replica(
    start: MakeRelay, enter: MakeClient, own_redis: RedisServer, replica: RedisServer
) -> None:
    relay = await start(redis_url=own_redis.url, durability="replicas=1")
    ann = await enter(relay, "/rooms/room?peer=ann")
    for number in range(20):
        answer = await say(ann, f"message {number}")
        assert answer["type"] == "ack"
        # Looked for on the replica, without a wait.
        found = replica.client.xrange("relay:{room}:log", min=answer["id"], max=answer["id"])
        assert len(found) == 1


async def test_without_its_replica_a_message_has_an_unknown_outcome_and_comes_once(
    start: MakeRelay, enter: MakeClient, own_redis: RedisServer, replica: RedisServer
) -> None:
    relay = await start(redis_url=own_redis.url, durability="replicas=1", publish_timeout=1)
    ann = await enter(relay, "/rooms/room?peer=ann")
    ben = await enter(relay, "/rooms/room?peer=ben")
    assert (await say(ann, "before"))["type"] == "ack"
    replica.signal(signal.SIGSTOP)
    began = asyncio.get_running_loop().time()
    refused = await say(ann, "meanwhile", key="k1")
    assert (refused["type"], refused["code"]) == ("error", "outcome_unknown")
    assert "too few of its replicas" in refused["text"]
    assert asyncio.get_running_loop().time() - began < 4
    assert await relay.metric("relay_unconfirmed_messages_total") >= 1
    replica.signal(signal.SIGCONT)
    again = await say(ann, "meanwhile", key="k1")
    assert again["type"] == "ack"
    assert (await say(ann, "after"))["type"] == "ack"
    heard = await ben.until(lambda event: event.get("message") == "after")
    assert [event["message"] for event in heard if "message" in event] == ["before", "meanwhile", "after"]


async def test_the_other_replica_does_not_confirm_alone_when_one_has_just_left(
    start: MakeRelay, enter: MakeClient, own_redis: RedisServer, replica: RedisServer
) -> None:
    """A replica that becomes a master leaves the old one, which may not know of it yet, and has the other one still."""
    other = RedisServer()
    await asyncio.to_thread(other.start)
    try:
        await asyncio.to_thread(other.follow, own_redis)
        relay = await start(redis_url=own_redis.url, durability="replicas=1", publish_timeout=4)
        ann = await enter(relay, "/rooms/room?peer=ann")
        assert (await say(ann, "before"))["type"] == "ack"
        with other.client as client:
            client.replicaof("NO", "ONE")
        began = asyncio.get_running_loop().time()
        assert (await say(ann, "meanwhile"))["type"] == "ack"
        assert asyncio.get_running_loop().time() - began > 2
        assert not other.client.xrange("relay:{room}:log")[1:]
        # It counts no more.
        waits = await asyncio.to_thread(_waits_for, own_redis)
        assert (await say(ann, "after"))["type"] == "ack"
        assert await asyncio.to_thread(_waits_for, own_redis) == waits + 1
        assert await relay.metric("relay_unconfirmed_messages_total") == 0
    finally:
        other.close()


def _waits_for(server: RedisServer) -> int:
    with server.client as client:
        return int(client.info("commandstats")["cmdstat_wait"]["calls"])


async def test_commands_of_other_rooms_do_not_wait_for_the_replica(
    start: MakeRelay, enter: MakeClient, own_redis: RedisServer, replica: RedisServer
) -> None:
    relay = await start(redis_url=own_redis.url, durability="replicas=1", publish_timeout=20)
    ann = await enter(relay, "/rooms/room?peer=ann")
    ben = await enter(relay, "/rooms/room?peer=ben")
    replica.signal(signal.SIGSTOP)
    await ann.send({"type": "publish", "key": "slow", "envelope": {"message": "one"}})
    # Delivered, though not acknowledged.
    await ben.until(lambda event: event.get("message") == "one")
    began = asyncio.get_running_loop().time()
    for number in range(5):
        other = await enter(relay, f"/rooms/other{number}?peer=cat")
        await other.close()
    assert asyncio.get_running_loop().time() - began < 5
    replica.signal(signal.SIGCONT)
    await ann.until(lambda event: event.get("key") == "slow" and event["type"] == "ack")


async def test_messages_of_many_share_one_wait(
    start: MakeRelay, enter: MakeClient, own_redis: RedisServer, replica: RedisServer
) -> None:
    relay = await start(redis_url=own_redis.url, durability="replicas=1")
    clients = [await enter(relay, f"/rooms/room{number % 4}?peer=p{number}") for number in range(12)]

    async def talk(client: Client) -> None:
        for number in range(50):
            await client.send({"type": "publish", "key": f"k{number}", "envelope": {"message": number}})
        await client.until(lambda event: event.get("key") == "k49" and event["type"] == "ack", 30)

    await asyncio.gather(*map(talk, clients))
    with own_redis.client as client:
        waits = client.info("commandstats")["cmdstat_wait"]["calls"]
    assert waits < 600 / 2


async def test_a_worker_without_replicas_to_wait_for_says_so(
    start: MakeRelay, enter: MakeClient, own_redis: RedisServer
) -> None:
    relay = await start(redis_url=own_redis.url, durability="replicas=1", publish_timeout=0.5)
    ann = await enter(relay, "/rooms/room?peer=ann")
    assert (await say(ann, "one"))["code"] == "outcome_unknown"
    await eventually(lambda: "not confirmed by 1 of its replicas" in relay.logged)
