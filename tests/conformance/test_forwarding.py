"""Real Socket.IO clients that poll through a load balancer without stickiness, while workers come and go."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.conformance.sio import POLLING, WEBSOCKET, Node, SocketIO
from tests.conformance.test_load_balancer import CONFIGURATION, balancing, here
from tests.fleet import QUICK, RedisServer, Relay
from tests.ports import free_port

LISTENERS = 6


def without_stickiness(text: str) -> str:
    """The configuration without the lines that keep a session with its worker."""
    for pattern in (r" +stick-table type string .*\n", r" +stick store-response .*\n", r" +stick match .*\n"):
        text, found = re.subn(pattern, "", text)
        assert found, pattern
    return text


class Workers:
    """Replicas that forward requests, on ports that the load balancer knows from the start."""

    def __init__(self, redis: RedisServer, most: int = 4) -> None:
        self._redis = redis
        self.ports = [free_port() for _ in range(most)]
        self.relays: list[Relay] = []

    async def start(self) -> Relay:
        settings: dict[str, Any] = QUICK | {"reconnect_grace": 10.0, "worker_lease": 1.0}
        relay = Relay(
            port=self.ports[len(self.relays)],
            redis_url=self._redis.url,
            forward_listen=f"127.0.0.1:{free_port()}",
            forward_networks="127.0.0.1/32",
            **settings,
        )
        self.relays.append(relay)
        return await relay.ready()

    async def forwarded(self) -> float:
        alive = [relay for relay in self.relays if relay.process.poll() is None]
        return sum([await one.metric("relay_forwarded_requests_total", outcome="answered") for one in alive])


@asynccontextmanager
async def fleet(redis: RedisServer, tmp_path: Path) -> AsyncIterator[tuple[Workers, str, Node]]:
    """Two workers, the address of the load balancer before them, and clients in a Node process."""
    workers = Workers(redis)
    node = await Node.start()
    try:
        await asyncio.gather(workers.start(), workers.start())
        async with balancing(without_stickiness(here(CONFIGURATION.read_text(), workers.ports)), tmp_path) as url:
            yield workers, url, node
    finally:
        await node.close()
        for relay in workers.relays:
            relay.close()


async def numbers(client: SocketIO, last: int) -> tuple[list[int], int]:
    """The numbers that a client hears until the last one, and how often it connected again meanwhile."""
    heard: list[int] = []
    connected = 0
    async with asyncio.timeout(40):
        while last not in heard:
            event = await client.next()
            if event["what"] == "event" and event["name"] == "count":
                heard.append(event["args"][0])
            connected += event["what"] == "connect"
    return heard, connected


@pytest.mark.parametrize("version", ["4", "2", "0.9"])
async def test_requests_of_a_session_reach_any_worker(own_redis: RedisServer, tmp_path: Path, version: str) -> None:
    async with fleet(own_redis, tmp_path) as (workers, url, node):
        ann, ben = [await node.open(version, url, **POLLING) for _ in range(2)]
        for number in range(20):
            if number % 3 == 0:
                # Or the load balancer might happen to give each request to the worker that has its session.
                async with httpx.AsyncClient() as passer:
                    await passer.get(f"{url}/health")
            ann.emit("count", number)
            assert await ben.event() == ("count", [number])
        assert await workers.forwarded() > 10


async def test_workers_that_are_added_and_killed(own_redis: RedisServer, tmp_path: Path) -> None:
    async with fleet(own_redis, tmp_path) as (workers, url, node):
        listeners = [await node.open("4", url, **POLLING) for _ in range(LISTENERS)]
        # On a worker that lives throughout, without the load balancer.
        speaker = await node.open("4", workers.relays[0].http, **WEBSOCKET)
        for number in range(150):
            if number == 40:
                await workers.start()
            if number == 90:
                workers.relays[1].process.kill()
            speaker.emit("count", number)
            await asyncio.sleep(0.05)
        results = await asyncio.gather(*[numbers(client, 149) for client in listeners])
        # Each message once and in order, also for the clients whose session ended with the killed worker.
        assert [heard for heard, _ in results] == [list(range(150))] * LISTENERS
        # Adding a worker costs no session. Killing one ends those that it had, and those whose poll it was forwarding.
        assert max(connected for _, connected in results) <= 1
        assert await workers.forwarded() > 50
