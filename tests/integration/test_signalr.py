"""SignalR of ASP.NET Core on two workers and a real Redis: each request may reach either of them."""

import asyncio
import json
from typing import Any

import httpx2 as httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.conftest import MakeClient, MakeFleet, MakeRelay
from tests.fleet import RedisServer, Relay
from tests.gateways.drivers.signalr import DataStream
from tests.integration.test_plain_http import forwarding
from tests.ports import free_port

HANDSHAKE = '{"protocol":"json","version":1}\x1e'
PATIENCE = 30
KEY = "peer=ann&resume=a-key-of-the-page-0123456789"


async def ask(relay: Relay, method: str, target: str, content: str = "") -> httpx.Response:
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        return await client.request(method, relay.http + target, content=content)


async def negotiated(relay: Relay, room: str, query: str = KEY) -> str:
    """The address of a new connection."""
    answer = await ask(relay, "POST", f"/rooms/{room}/signalr/negotiate?{query}&negotiateVersion=1")
    return f"/rooms/{room}/signalr?{query}&presence=0&id={answer.json()['connectionToken']}"


def first(text: str) -> Any:
    return json.loads(text.partition("\x1e")[0])


@pytest.fixture
async def replicas(redis_server: RedisServer, start: MakeRelay, prefix: str) -> list[Relay]:
    common = {"redis_url": redis_server.url, "redis_prefix": prefix, "reconnect_grace": 30}
    return [await start(**common, **forwarding(free_port())) for _ in range(2)]


async def test_polls_posts_and_the_goodbye_reach_the_worker_with_the_connection(
    replicas: list[Relay], enter: MakeClient
) -> None:
    """Every request goes to the worker that does not have the connection; the client is a member all the time."""
    here, there = replicas
    bob = await enter(there, "/rooms/room?peer=bob&presence=1")
    target = await negotiated(here, "room")
    polled = await ask(there, "GET", target)
    assert (polled.status_code, polled.content) == (200, b"")
    assert (await ask(there, "POST", target, HANDSHAKE)).status_code == 200
    assert (await ask(there, "GET", target)).text == "{}\x1e"
    assert (await bob.next())["joined"] == ["ann"]
    waiting = asyncio.create_task(ask(there, "GET", target))
    await bob.ask({"message": "for the poll"})
    assert first((await waiting).text)["arguments"][0]["message"] == "for the poll"
    await ask(there, "POST", target, '{"type":1,"target":"Send","arguments":["hello"]}\x1e')
    assert (await bob.next())["message"] == "hello"
    assert (await ask(there, "DELETE", target)).status_code == 202
    assert (await bob.until(lambda event: event.get("left")))[-1]["left"] == ["ann"]
    assert (await ask(there, "GET", target)).status_code == 404


async def test_a_stream_and_a_late_goodbye_reach_the_worker_with_the_connection(
    replicas: list[Relay], enter: MakeClient
) -> None:
    """The stream ends ahead of the goodbye, as in a browser; both pass through the other worker."""
    here, there = replicas
    bob = await enter(there, "/rooms/room?peer=bob&presence=1")
    target = await negotiated(here, "room")
    stream = await DataStream.open(there.port, target, Accept="text/event-stream")
    assert stream.status == 200
    assert (await ask(there, "POST", target, HANDSHAKE)).status_code == 200
    assert await stream.data() == b"{}\x1e"
    assert (await bob.next())["joined"] == ["ann"]
    await bob.ask({"message": "for the stream"})
    assert first((await stream.data()).decode())["arguments"][0]["message"] == "for the stream"
    await stream.drop()

    async def held() -> bool:
        return [member.get("held") for member in (await here.describe("room"))["members"]].count(True) == 1

    async with asyncio.timeout(PATIENCE):
        while not await held():
            await asyncio.sleep(0.05)
    assert (await ask(there, "POST", target, '{"type":7}\x1e')).status_code == 200
    assert (await bob.until(lambda event: event.get("left")))[-1]["left"] == ["ann"]


async def opened(relay: Relay, target: str) -> ClientConnection:
    socket = await connect(relay.ws + target, compression=None, ping_interval=None, proxy=None)
    await socket.send(HANDSHAKE)
    return socket


@pytest.mark.parametrize("query", [KEY, "peer=ann"], ids=["with a proof", "without a proof"])
async def test_one_token_opens_sockets_at_two_workers_as_one_member(
    query: str, fleet_of: MakeFleet, enter: MakeClient
) -> None:
    """No worker knows which tokens were used elsewhere; the place has one connection all the same."""
    here, there = await fleet_of(2, reconnect_grace=30)
    bob = await enter(there, "/rooms/room?peer=bob&presence=1")
    target = await negotiated(here, "room", query)
    older = await opened(here, target)
    async with asyncio.timeout(PATIENCE):
        assert await older.recv() == "{}\x1e"
    newer = await opened(there, target)
    async with asyncio.timeout(PATIENCE):
        answer = str(await newer.recv())
        if query == KEY:
            assert answer == "{}\x1e"
            # The connection that was replaced is told, and closed.
            assert first(str(await older.recv()))["type"] == 7
            with pytest.raises(ConnectionClosed):
                await older.recv()
        else:
            assert first(answer)["error"].startswith("peer_taken: ")
            with pytest.raises(ConnectionClosed):
                await newer.recv()
    members = [member["peer"] for member in (await here.describe("room"))["members"]]
    assert sorted(members) == ["ann", "bob"]
    assert [event["joined"] for event in await bob.all_up_to_now() if event.get("joined")] == [["ann"]]
    for socket in (older, newer):
        socket.transport.abort()
