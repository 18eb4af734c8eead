"""Connections that break at every step: nothing is lost, repeated or reordered, and every envelope is answered."""

import asyncio
import random

import pytest
from websockets.asyncio.server import serve

from relay.client import Envelope, Lost, Options, Rejected, Room, join
from tests.unit.client.faulty_relay import FaultyRelay

OWN, OTHERS = 120, 120


async def receive(room: Room) -> list[int]:
    received: list[int] = []
    async for event in room:
        assert not isinstance(event, Lost)
        if isinstance(event, Envelope):
            received.append(event.data["other"])
            if len(received) == OTHERS:
                break
    return received


async def others_publish(relay: FaultyRelay, draw: random.Random) -> None:
    for n in range(OTHERS):
        relay.publish("other", {"other": n})
        for _ in range(draw.randrange(8)):
            await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(12))
async def test_connections_that_break_at_every_step(seed: int) -> None:
    draw = random.Random(seed)
    relay = FaultyRelay(random.Random(seed), fault_rate=draw.choice([0.01, 0.03, 0.08]))
    async with serve(
        relay.serve, "127.0.0.1", 0, process_request=relay.check, subprotocols=["relay.v1"], ping_interval=None
    ) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        options = Options(
            draw=lambda: 0.0,
            window=draw.choice([1, 4, 32]),
            ping_interval=0.05,
            ping_timeout=5,
            outgoing=draw.choice([8, 1000]),
            wait_for_space=True,
        )
        async with join(url, "r", peer="me", options=options) as room:
            receiving = asyncio.create_task(receive(room))
            publishing = asyncio.create_task(others_publish(relay, draw))
            sending = [asyncio.create_task(room.send(envelope(n))) for n in range(OWN)]
            results = await asyncio.gather(*sending, return_exceptions=True)
            await publishing
            assert await receiving == list(range(OTHERS))
            assert room.duplicates == 0
    good = [n for n in range(OWN) if n % 10]
    mine = [event["own"] for event in relay.log if event["from"] == "me"]
    assert mine == good
    ids = [str(result) for n, result in enumerate(results) if n % 10]
    assert ids == [event["id"] for event in relay.log if event["from"] == "me"]
    assert all(isinstance(result, Rejected) for result in results[::10])
    assert relay.faults > 0


def envelope(n: int) -> dict[str, object]:
    return {"own": n} if n % 10 else {"own": n, "refuse": True}
