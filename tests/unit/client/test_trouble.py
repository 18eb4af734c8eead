"""Whatever breaks, wherever: nothing lost, nothing twice, nothing out of order, and every envelope answered."""

import asyncio
import random

import pytest
from websockets.asyncio.server import serve

from relay.client import Envelope, Lost, Options, Rejected, Room, join
from tests.unit.client.relay import SmallRelay

SAID, HEARD = 120, 120


async def listen(room: Room) -> list[int]:
    heard: list[int] = []
    async for event in room:
        assert not isinstance(event, Lost)
        if isinstance(event, Envelope):
            heard.append(event.data["heard"])
            if len(heard) == HEARD:
                break
    return heard


async def others_talk(relay: SmallRelay, draw: random.Random) -> None:
    for n in range(HEARD):
        relay.publish("other", {"heard": n})
        for _ in range(draw.randrange(8)):
            await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(12))
async def test_a_relay_whose_connections_break_at_every_step(seed: int) -> None:
    draw = random.Random(seed)
    relay = SmallRelay(random.Random(seed), trouble=draw.choice([0.01, 0.03, 0.08]))
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
            listening = asyncio.create_task(listen(room))
            talking = asyncio.create_task(others_talk(relay, draw))
            sending = [asyncio.create_task(room.send(said(n))) for n in range(SAID)]
            results = await asyncio.gather(*sending, return_exceptions=True)
            await talking
            assert await listening == list(range(HEARD))
            assert room.duplicates == 0
    good = [n for n in range(SAID) if n % 10]
    mine = [event["said"] for event in relay.log if event["from"] == "me"]
    assert mine == good
    ids = [str(result) for n, result in enumerate(results) if n % 10]
    assert ids == [event["id"] for event in relay.log if event["from"] == "me"]
    assert all(isinstance(result, Rejected) for result in results[::10])
    assert relay.troubles > 0


def said(n: int) -> dict[str, object]:
    return {"said": n} if n % 10 else {"said": n, "refuse": True}
