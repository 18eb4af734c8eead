"""Many members join, leave, get lost and resume on two workers: the events of watchers add up to the members list."""

import asyncio
import random

from tests.conftest import MakeClient, MakeRelay
from tests.fleet import Client, eventually

SEED = 7
CLIENTS, TURNS = 30, 8


class Watcher:
    """Keeps the member set that a client would keep, from the welcome and the events after it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.peers = {member["peer"] for member in client.welcome["members"]}
        self.contradictions: list[dict] = []

    async def follow(self) -> None:
        """Read events until their sum equals the list of the relay.

        A list is as of its own id, and may come before events that are older: it is asked for again then.
        """
        while True:
            event = await self._client.next(30)
            if event.get("key") == "end":
                if self.peers == {member["peer"] for member in event["members"]}:
                    return
                await self.end()
            elif event.get("type") == "presence":
                left, joined = set(event["left"]), set(event["joined"])
                if not left <= self.peers or joined & (self.peers - left):
                    self.contradictions.append(event)
                self.peers = self.peers - left | joined
            else:
                assert "type" not in event, event

    async def end(self) -> None:
        await self._client.send({"type": "presence", "key": "end"})


async def wander(name: str, relays, enter: MakeClient, draw: random.Random) -> None:
    """Come and go: with a goodbye, without one, or by coming back over an open connection."""
    resume = ""
    for _ in range(TURNS):
        # One that hears no more than it takes would not hear its own goodbye.
        client = await enter(draw.choice(relays), f"/rooms/room?peer={name}", resume=resume, max_queue=None)
        if client.welcome["type"] != "welcome":
            # The goodbye before this one is still on its way to Redis.
            assert client.welcome["code"] == "peer_taken"
            resume = ""
            await eventually(client.closed)
            continue
        resume = client.welcome["resume"]
        await client.send({"n": 1})
        await asyncio.sleep(draw.random() / 50)
        fate = draw.random()
        if fate < 0.4:
            await client.close()
            resume = ""
        elif fate < 0.8:
            client.lose()


async def test_the_joins_and_leaves_that_watchers_receive_add_up(
    start: MakeRelay, enter: MakeClient, redis_url: str, prefix: str
) -> None:
    settings = {"redis_url": redis_url, "redis_prefix": prefix, "handshake_rate": 100_000}
    relays = [await start(**settings), await start(**settings)]
    watchers = [Watcher(await enter(relays[number % 2], "/rooms/room?presence=1")) for number in range(4)]
    following = [asyncio.create_task(watcher.follow()) for watcher in watchers]
    draws = [random.Random(SEED + number) for number in range(CLIENTS)]
    await asyncio.gather(*[wander(f"p{number}", relays, enter, draw) for number, draw in enumerate(draws)])

    async def nobody_is_held() -> bool:
        return not any([await relay.metric("relay_held_members") for relay in relays])

    await eventually(nobody_is_held, 20)
    for watcher in watchers:
        await watcher.end()
    async with asyncio.timeout(10):
        await asyncio.gather(*following)
    assert [watcher.contradictions for watcher in watchers] == [[], [], [], []]
    for relay in relays:
        assert await relay.metric("relay_room_gaps_total") == 0
