"""Bursts and floods: a burst is delayed and delivered, a flood is refused, and neighbours notice neither."""

import asyncio
import json
import statistics
import time
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.conftest import MakeClient, MakeRelay
from tests.fleet import Client, Relay
from tests.integration.socketio import OverPolling, OverWebSocket

BURST = 600
MESH = 40
FLOOD_SECONDS = 10.0


async def received(client: Client, count: int) -> list[Any]:
    """The values of the next messages."""
    return [(await client.next())["message"] for _ in range(count)]


@pytest.fixture
async def relay(start: MakeRelay, redis_url: str, prefix: str) -> Relay:
    return await start(redis_url=redis_url, redis_prefix=prefix)


async def test_a_burst_over_a_websocket_is_delivered_whole(relay: Relay, enter: MakeClient) -> None:
    ann, ben = await enter(relay, "/rooms/burst?peer=ann"), await enter(relay, "/rooms/burst?peer=ben")
    await asyncio.gather(*(ann.send({"message": number}) for number in range(BURST)))
    assert await received(ben, BURST) == list(range(BURST))
    assert await ann.all_up_to_now() == []
    assert await relay.metric("relay_delayed_reads_total", protocol="native") > 0


async def test_a_burst_and_a_close_right_after_it_lose_nothing(relay: Relay, enter: MakeClient) -> None:
    ann, ben = await enter(relay, "/rooms/close?peer=ann"), await enter(relay, "/rooms/close?peer=ben")
    for number in range(BURST):
        await ann.send({"message": number})
    closing = asyncio.create_task(ann.close())
    assert await received(ben, BURST) == list(range(BURST))
    await closing


async def test_a_burst_over_socketio_is_delivered_whole(relay: Relay, enter: MakeClient) -> None:
    ben = await enter(relay, "/rooms/default?peer=ben")
    ann = await (await OverWebSocket.open(relay)).enter()
    for number in range(BURST):
        await ann.emit("message", {"message": number})
    assert await received(ben, BURST) == list(range(BURST))
    ann.lose()


@pytest.mark.parametrize("posts", [1, 3])
async def test_a_burst_over_polling_delays_the_answers_to_posts(relay: Relay, enter: MakeClient, posts: int) -> None:
    ben = await enter(relay, "/rooms/default?peer=ben")
    ann = await (await OverPolling.open(relay)).enter()
    packets = [f'42["message",{{"message":{number}}}]' for number in range(BURST)]
    began = time.monotonic()
    for post in range(posts):
        answer = await ann.post("\x1e".join(packets[post::posts]))
        assert answer.text == "ok"
    assert time.monotonic() - began > 0.5  # a third of the messages is above the burst, which takes a second
    assert sorted(await received(ben, BURST)) == list(range(BURST))
    await ann.close()


async def test_a_mesh_that_joins_within_a_second_loses_no_offer(relay: Relay, enter: MakeClient) -> None:
    began = time.monotonic()
    members = await asyncio.gather(*(enter(relay, f"/rooms/mesh?peer=p{number}") for number in range(MESH)))
    sdp = "v=0\r\n" + "a=candidate\r\n" * 300

    async def offer(number: int) -> None:
        for other in range(MESH):
            if other != number:
                offer = {"to": f"p{other}", "message": {"offer": [number, other], "sdp": sdp}}
                await members[number].send(offer)

    async def offers(number: int) -> set[int]:
        values = await received(members[number], MESH - 1)
        assert {value["offer"][1] for value in values} == {number}
        return {value["offer"][0] for value in values}

    heard = await asyncio.gather(*(offers(number) for number in range(MESH)), *(offer(n) for n in range(MESH)))
    print(f"{MESH} members, {MESH * (MESH - 1)} offers in {time.monotonic() - began:.1f} s")
    assert sum(len(one) for one in heard if one is not None) == MESH * (MESH - 1)
    assert await relay.metric("relay_errors_total") == 0


async def test_a_burst_of_several_seconds_is_delivered_whole(start: MakeRelay, enter: MakeClient) -> None:
    relay = await start(message_rate=300)
    ann, ben = await enter(relay, "/rooms/long?peer=ann"), await enter(relay, "/rooms/long?peer=ben")
    sending = asyncio.gather(*(ann.send({"message": number}) for number in range(8 * 300)))
    assert await received(ben, 8 * 300) == list(range(8 * 300))
    await sending
    assert await ann.all_up_to_now() == []


async def test_a_flood_is_closed_and_its_neighbours_stay_quick(
    start: MakeRelay, enter: MakeClient, redis_url: str, prefix: str
) -> None:
    relay = await start(redis_url=redis_url, redis_prefix=prefix, message_delay=5)
    ann, ben = await enter(relay, "/rooms/quiet?peer=ann"), await enter(relay, "/rooms/quiet?peer=ben")
    times: list[float] = []
    flood = asyncio.create_task(_flood(await enter(relay, "/rooms/flood?peer=flooder")))
    while not flood.done():
        began = time.monotonic()
        await ann.send({"message": 1})
        await ben.next()
        times.append(time.monotonic() - began)
        await asyncio.sleep(0.02)
    assert flood.result() == 4002
    assert statistics.median(times) < 0.5
    assert await relay.metric("relay_errors_total", protocol="native", code="too_fast") > 100


async def _flood(client: Client) -> int:
    """Send as fast as TCP takes it, and read everything; returns the close code."""
    frames, reading = [json.dumps({"message": "x" * 100})] * 100, asyncio.create_task(client.closed(FLOOD_SECONDS))
    deadline = time.monotonic() + FLOOD_SECONDS
    with suppress(ConnectionClosed):
        while time.monotonic() < deadline and not reading.done():
            for frame in frames:
                await client.send(frame)
            await asyncio.sleep(0)
    return await reading
