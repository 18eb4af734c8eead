"""Channels of socketio-over-nodejs on two workers: a page opens one on a connection, and enters it on another."""

import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx2 as httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from relay.gateways.socketio.packets import FRAMINGS
from tests.fleet import RedisServer, Relay
from tests.integration.socketio import OverWebSocket

POLLING = "/socket.io/?EIO=3&transport=polling&b64=1"
_numbers = itertools.count()


@pytest.fixture
async def couple(redis_server: RedisServer) -> AsyncIterator[tuple[Relay, Relay]]:
    prefix = f"relay:over-nodejs-{next(_numbers)}"
    relays = [Relay(redis_url=redis_server.url, redis_prefix=prefix) for _ in range(2)]
    for relay in relays:
        await relay.ready()
    yield relays[0], relays[1]
    for relay in relays:
        relay.close()


async def poll(http: httpx.AsyncClient, url: str) -> list[str]:
    return [packet.data.decode() for packet in FRAMINGS[3].read_payload((await http.get(url)).content, binary=False)]


async def upgrade(relay: Relay, url: str) -> ClientConnection:
    socket = await connect(relay.ws + url.replace("=polling", "=websocket"), compression=None, proxy=None)
    await socket.send("2probe")
    assert await socket.recv() == "3probe"
    await socket.send("5")
    return socket


Enter = Callable[[Relay], Awaitable[tuple[ClientConnection, str]]]


async def later_version(relay: Relay) -> tuple[ClientConnection, str]:
    """Ask for two channels while the client polls, be refused, and upgrade."""
    async with httpx.AsyncClient(base_url=relay.http, timeout=10) as http:
        heard = await poll(http, POLLING)
        url = f"{POLLING}&sid={json.loads(heard[0])['sid']}"
        heard += await poll(http, url)
        await http.post(url, content="".join([f"{len(one)}:{one}" for one in ("40/all,", "40/pair,")]))
        while sum("Invalid namespace" in packet for packet in heard) < 2:
            heard += await poll(http, url)
        return await upgrade(relay, url), "40/{},"


async def version_0_9(relay: Relay) -> tuple[ClientConnection, str]:
    sid = (await relay.get("/socket.io/1/")).text.partition(":")[0]
    socket = await connect(f"{relay.ws}/socket.io/1/websocket/{sid}", compression=None, proxy=None)
    assert await socket.recv() == "1::"
    for channel in ("all", "pair"):
        await socket.send(f"1::/{channel}")
        assert await socket.recv() == f"7::/{channel}:2"
    return socket, "1::/{}"


@pytest.mark.parametrize("enter", [later_version, version_0_9])
async def test_a_page_enters_the_channels_that_its_later_connections_open(
    couple: tuple[Relay, Relay], enter: Enter
) -> None:
    first, entered = await enter(couple[0])
    for channel in ("pair", "all"):
        second = await OverWebSocket.open(couple[1], query="EIO=3")
        await second.emit("new-channel", {"channel": channel, "sender": 7})
        assert await first.recv() == entered.format(channel)
        second.lose()
    await first.close()
