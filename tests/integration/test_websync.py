"""WebSync on two workers and a real Redis: the requests of a page reach either, or its worker is killed."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx2 as httpx
import pytest

from tests.conftest import MakeClient, MakeFleet, MakeRelay
from tests.fleet import RedisServer, Relay, eventually
from tests.gateways.drivers.websync import CHANNEL, RECORDS, SUBSCRIBERS, WebSyncWire, written
from tests.integration.test_plain_http import forwarding
from tests.ports import free_port

ROOM = "/rooms/room"
_open: list[WebSyncWire] = []


@pytest.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    """Close the connections of all pages."""
    yield
    while _open:
        await _open.pop().http.aclose()


async def come_in(relay: Relay, *, before: WebSyncWire | None = None) -> WebSyncWire:
    """Let a page in, which joins the shared channel; one that had a place comes back to it."""
    wire = before or WebSyncWire()
    _open.append(wire)
    await wire.begin(f"{relay.http}{ROOM}")
    assert (await wire.handshake(comes_back=before is not None))["successful"]
    assert all(reply["successful"] for reply in await wire.post(wire.join()))
    return wire


async def hear(wire: WebSyncWire) -> list[Any]:
    """Connect until there are publications; their messages, as pages of the seed's kind read them."""
    while True:
        answer = await wire.post([wire.connect()])
        assert all(one.get("successful", True) for one in answer), answer
        wire.acknowledges = answer[0]["channel"] != "/meta/connect"
        found = [json.loads(one["data"]["text"])["message"] for one in answer if one["channel"] == CHANNEL]
        if found:
            return found


async def has_noted(relay: Relay, positions: int) -> bool:
    """Whether a worker has noted so many positions of its members; the first one is that of the entrance."""
    return await relay.metric("relay_noted_positions_total") >= positions


def publication(wire: WebSyncWire, message: Any) -> dict[str, Any]:
    return wire.message(CHANNEL, data={"username": 5, "text": json.dumps({"message": message, "channel": "c"})})


async def test_requests_reach_the_worker_with_the_session(
    redis_server: RedisServer, start: MakeRelay, prefix: str
) -> None:
    common = {"redis_url": redis_server.url, "redis_prefix": prefix}
    here, there = [await start(**common, **forwarding(free_port())) for _ in range(2)]
    ann, ben = await come_in(here), await come_in(there)
    for relay in (there, here, there):
        await ann.begin(f"{relay.http}{ROOM}")
        # All kinds of messages, each at the worker that does not have the session, too.
        waiting = asyncio.create_task(hear(ann))
        [published] = await ben.post([publication(ben, relay.http)])
        assert published["successful"]
        assert await waiting == [relay.http]
        unsubscribe = ann.message("/meta/unsubscribe", subscription=["/x"])
        for messages in (ann.join(), [unsubscribe], [ann.message("/service/presence", data="c")]):
            assert all(reply["successful"] for reply in await ann.post(messages))
    assert (await ann.post([ann.message("/meta/disconnect")]))[0]["successful"]
    assert {one["peer"] for one in (await here.describe("room"))["members"]} == {ben.client}


async def test_workers_behind_one_port(redis_server: RedisServer, start: MakeRelay, prefix: str) -> None:
    relay = await start(redis_url=redis_server.url, redis_prefix=prefix, workers=2)
    ann, ben = await come_in(relay), await come_in(relay)
    heard: list[Any] = []
    for number in range(10):
        # Each request has a connection of its own, which the system gives to either worker.
        for wire in (ann, ben):
            await wire.begin(f"{relay.http}{ROOM}")
        assert (await ann.post([publication(ann, number)]))[0]["successful"]
        heard += await hear(ben)
    assert heard == list(range(10))


async def test_a_killed_worker_loses_nothing(fleet_of: MakeFleet, enter: MakeClient) -> None:
    here, there = await fleet_of(2, reconnect_grace=60.0)
    bob = await enter(there, f"{ROOM}?peer=bob&presence=1")
    wire = await come_in(here)
    await bob.ask({"channel": "c", "message": "acknowledged"})
    assert await hear(wire) == ["acknowledged"]
    # This connect acknowledges; its answer is lost with the worker.
    lost = asyncio.create_task(wire.post([wire.connect()]))

    await eventually(partial(has_noted, here, 2))
    here.process.kill()
    await asyncio.wait([lost])
    assert isinstance(lost.exception(), httpx.TransportError)
    await bob.ask({"channel": "c", "message": "missed"})
    client = wire.client
    await wire.begin(f"{there.http}{ROOM}")
    # Without a session, a publication is served: its member is known by the key.
    assert (await wire.post([publication(wire, "while its worker is gone")]))[0]["successful"]
    [reply] = await wire.post([wire.connect()])
    assert (reply["successful"], reply["advice"]) == (False, {"reconnect": "handshake"})
    wire = await come_in(there, before=wire)
    assert wire.client == client
    heard = await hear(wire)
    assert heard == ["missed", "while its worker is gone"]
    presence = [event for event in await bob.all_up_to_now() if event.get("left")]
    assert not presence


async def test_a_client_leaves_by_any_worker_when_its_own_is_gone(fleet_of: MakeFleet) -> None:
    here, there = await fleet_of(2, reconnect_grace=60.0)
    ann, ben = await come_in(here), await come_in(there)
    here.process.kill()
    await ann.begin(f"{there.http}{ROOM}")
    assert (await ann.post([ann.message("/meta/disconnect")]))[0]["successful"]
    assert {one["peer"] for one in (await there.describe("room"))["members"]} == {ben.client}


async def test_users_join_and_leave_between_workers(fleet_of: MakeFleet) -> None:
    here, there = await fleet_of(2)
    ann, ben = await come_in(here), await come_in(there)

    async def told(wire: WebSyncWire) -> tuple[str, Any, Any]:
        answer = await wire.post([wire.connect()])
        wire.acknowledges = True
        [one] = [one for one in answer if one["channel"] == SUBSCRIBERS]
        client = one["data"]["client"]
        return one["data"]["type"], client["clientId"], client["boundRecords"]

    assert await told(ann) == ("subscribe", ben.client, RECORDS)
    keys = [{"key": key} for key in RECORDS]
    leave = [
        ben.message("/meta/unsubscribe", subscription=[CHANNEL, SUBSCRIBERS], extensions={"fm.tag": ""}),
        ben.message("/meta/unbind", binding=keys),
    ]
    assert all(reply["successful"] for reply in await ben.post(leave))
    assert await told(ann) == ("unsubscribe", ben.client, RECORDS)


async def test_bodies_are_as_the_client_writes_them() -> None:
    wire = WebSyncWire()
    _open.append(wire)
    wire.client, wire.session = "client", "session"
    assert written([wire.connect()]) == (
        rb'[{"channel":"\/meta\/connect","connectionType":"long-polling","clientId":"client","id":"1",'
        rb'"ext":{"fm.ack":false,"fm.sessionId":"session"}}]'
    )


async def test_pages_come_back_in_order_after_all_workers_were_killed(
    redis_server: RedisServer, start: MakeRelay, prefix: str
) -> None:
    common = {"redis_url": redis_server.url, "redis_prefix": prefix, "reconnect_grace": 120.0}
    workers = [await start(**common) for _ in range(2)]
    ann, ben = [await come_in(relay) for relay in workers]
    # It has these, and says so in the connect that is lost with its worker.
    assert (await ann.post([publication(ann, "had")]))[0]["successful"]
    for wire in (ann, ben):
        assert await hear(wire) == ["had"]
    lost = [asyncio.create_task(wire.post([wire.connect()])) for wire in (ann, ben)]
    for relay in workers:
        await eventually(partial(has_noted, relay, 2))
    for relay in workers:
        relay.process.kill()
    await asyncio.wait(lost)
    again = [await start(**common, port=relay.port) for relay in workers]
    clients = ann.client, ben.client
    # Each comes back to the worker of the other; the first one also speaks before the second one is back.
    await come_in(again[1], before=ann)
    for number in range(5):
        assert (await ann.post([publication(ann, number)]))[0]["successful"]
    await come_in(again[0], before=ben)
    assert (ann.client, ben.client) == clients
    for wire in (ann, ben):
        assert await hear(wire) == list(range(5))
