"""The replies by which the nodes of a real cluster send commands elsewhere, or refuse them for a while."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterable, Iterator

import pytest
import redis

from relay.backend.redis.cluster.slots import slot_of_tag
from relay.backend.redis.error_codes import ERROR_CODES
from tests.clusters import Cluster
from tests.conftest import MakeClient, MakeRelay
from tests.fleet import Client, Json, Relay, eventually
from tests.integration.test_cluster import room_at, said

pytestmark = [pytest.mark.gateways, pytest.mark.timeout(240)]

SETTINGS = {"publish_timeout": 5, "reconnect_grace": 60}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Three masters without replicas, for one test."""
    cluster = Cluster()
    try:
        yield cluster.start()
    finally:
        cluster.close()


def replied(cluster: Cluster, code: str) -> int:
    """How many replies with this code the nodes have given."""
    count = 0
    for node in cluster.masters:
        with contextlib.suppress(redis.RedisError), node.client as client:
            count += int(client.info("errorstats").get(f"errorstat_{code}", {"count": 0})["count"])
    return count


async def test_moved(start: MakeRelay, enter: MakeClient, cluster: Cluster) -> None:
    relay, room = await start(redis_url=cluster.url, **SETTINGS), room_at(0)
    ann = await enter(relay, f"/rooms/{room}?peer=ann")
    before = replied(cluster, "MOVED")
    await asyncio.to_thread(cluster.move_slot, slot_of_tag(room), cluster.masters[1])
    assert (await ann.ask({"type": "publish", "envelope": {"message": "moved"}}))["type"] == "ack"
    assert replied(cluster, "MOVED") > before


async def test_ask(start: MakeRelay, enter: MakeClient, cluster: Cluster) -> None:
    relay, room = await start(redis_url=cluster.url, **SETTINGS), room_at(0)
    with cluster.moving(slot_of_tag(room), cluster.masters[1]):
        # The room has no keys: its first ones are for the node to which its slot is moving, once the slot is there.
        entering = asyncio.create_task(enter(relay, f"/rooms/{room}?peer=ann"))
        await eventually(lambda: replied(cluster, "ASK"), 30)
    ann = await entering
    assert ann.welcome["type"] == "welcome"
    assert (await ann.ask({"type": "publish", "envelope": {"message": "moved"}}))["type"] == "ack"


@contextlib.asynccontextmanager
async def between(cluster: Cluster, room: str) -> AsyncIterator[None]:
    """While the body runs, some of a room's keys are at one node, and the others at the one to which its slot moves."""
    begun, over = threading.Event(), threading.Event()

    def pause() -> None:
        begun.set()
        over.wait(60)

    moving = asyncio.create_task(
        asyncio.to_thread(cluster.move_slot, slot_of_tag(room), cluster.masters[1], pause=pause)
    )
    await asyncio.to_thread(begun.wait, 30)
    try:
        yield
    finally:
        over.set()
        await moving


async def publish(client: Client, numbers: Iterable[int]) -> None:
    for number in numbers:
        await client.send({"type": "publish", "key": f"k{number}", "envelope": {"message": number}})


async def answers(client: Client, number: int) -> list[Json]:
    """The next answers to messages, in their order."""
    found: list[Json] = []
    while len(found) < number:
        event = await client.next(30)
        if str(event.get("key", "")).startswith("k"):
            found.append(event)
    return found


async def test_tryagain(start: MakeRelay, enter: MakeClient, cluster: Cluster) -> None:
    relay, room = await start(redis_url=cluster.url, **SETTINGS), room_at(0)
    ann, ben = [await enter(relay, f"/rooms/{room}?peer={peer}") for peer in ("ann", "ben")]
    async with between(cluster, room):
        await publish(ann, range(50))
        # Each is tried again each twentieth of a second, the others behind it.
        await eventually(lambda: replied(cluster, "TRYAGAIN") >= 20, 30)
        await publish(ann, range(50, 100))
    told = await answers(ann, 100)
    assert [(answer["key"], answer["type"]) for answer in told] == [(f"k{number}", "ack") for number in range(100)]
    heard = await ben.until(lambda event: event.get("message") == 99, 30)
    assert [event["message"] for event in heard if "message" in event] == list(range(100))


async def test_a_slot_that_moves_for_longer_than_a_message_may_wait(
    start: MakeRelay, enter: MakeClient, cluster: Cluster
) -> None:
    """The sender is told that nothing happened, and it is true."""
    relay, room = await start(redis_url=cluster.url, reconnect_grace=60, publish_timeout=1), room_at(0)
    ann, ben = [await enter(relay, f"/rooms/{room}?peer={peer}") for peer in ("ann", "ben")]
    async with between(cluster, room):
        await publish(ann, range(20))
        refused = await answers(ann, 20)
    assert {(answer["type"], answer["code"]) for answer in refused} == {("error", "unavailable")}
    await said(ann, "after")
    heard = await ben.until(lambda event: event.get("message") == "after", 30)
    assert [event["message"] for event in heard if "message" in event] == ["after"]


async def test_clusterdown(start: MakeRelay, enter: MakeClient, cluster: Cluster) -> None:
    for node in cluster.masters:
        with node.client as client:
            client.config_set("cluster-require-full-coverage", "yes")
    relay = await start(redis_url=cluster.url, **SETTINGS)
    ann = await enter(relay, f"/rooms/{room_at(2)}?peer=ann")
    cluster.masters[0].kill()
    await eventually(lambda: told(relay, ERROR_CODES["CLUSTERDOWN"].meaning), 60)
    assert await relay.healthy(503)
    answer = await ann.ask({"type": "publish", "envelope": {"message": "nowhere"}})
    assert (answer["type"], answer["code"]) == ("error", "unavailable")
    cluster.masters[0].start()

    async def taken() -> bool:
        return (await ann.ask({"type": "publish", "envelope": {"message": "again"}}))["type"] == "ack"

    assert await eventually(taken, 60)


async def told(relay: Relay, words: str) -> bool:
    """Whether `/health` has these words."""
    return words in (await relay.get("/health", headers=relay.authorised)).text
