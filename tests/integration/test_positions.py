"""Clients without a cursor whose worker is killed: counted, over real sockets and real processes."""

import asyncio
import signal
import time

import pytest
from websockets.exceptions import ConnectionClosed

from tests.conftest import MakeClient, MakeRelay
from tests.fleet import Client

SECONDS = (2.15, 2.6, 2.95)
"""How long each worker lives: it is killed at another moment between two rounds of noting."""

AGAIN = 1.2 + 0.5
"""Seconds before the kill whose messages may come again, and half a second for a busy machine."""


async def collect(client: Client, numbers: list[int]) -> None:
    """Note the numbers of all messages until the connection ends."""
    try:
        while True:
            event = await client.next(60)
            if "n" in event:
                numbers.append(event["n"])
    except ConnectionClosed:
        return


@pytest.mark.timeout(90)
async def test_after_a_kill_nothing_is_lost_and_about_a_second_comes_again(
    start: MakeRelay, enter: MakeClient, prefix: str, redis_url: str
) -> None:
    settings = {"redis_url": redis_url, "redis_prefix": prefix, "reconnect_grace": 20, "server": "tracking"}
    stays = await start(**settings)
    speaker = await enter(stays, "/rooms/room?peer=speaker")
    published: list[float] = []
    ended = asyncio.Event()

    async def speak() -> None:
        while not ended.is_set():
            await speaker.ask({"n": len(published)})
            published.append(time.monotonic())
            await asyncio.sleep(0.01)

    speaking = asyncio.create_task(speak())
    for seconds in SECONDS:
        killed = await start(**settings)
        first = len(published) + 5
        client = await enter(killed, "/rooms/room?peer=listener")
        before: list[int] = []
        reading = asyncio.create_task(collect(client, before))
        await asyncio.sleep(seconds)
        at = time.monotonic()
        killed.signal(signal.SIGKILL)
        await reading
        again = await Client.open(f"{stays.ws}/rooms/room?peer=listener", resume=client.welcome["resume"])
        assert (again.welcome["resumed"], again.welcome["recovered"]) == (True, True)
        after: list[int] = []
        reading = asyncio.create_task(collect(again, after))
        await asyncio.sleep(0.5)
        await again.send({"type": "leave"})
        await again.socket.close()
        await reading
        assert after == list(range(after[0], after[-1] + 1)), "in order, and without a hole"
        assert before == list(range(before[0], before[-1] + 1))
        assert before[0] <= first
        assert after[0] <= before[-1] + 1, "nothing is lost"
        repeated = [number for number in after if number <= before[-1]]
        print(f"{len(before)} before the kill, {len(repeated)} again, the oldest {at - published[after[0]]:.2f} s old")
        assert at - published[after[0]] <= AGAIN
    ended.set()
    await speaking
