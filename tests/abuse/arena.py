"""Two workers as they are shipped, a Redis with the shipped limits, and uninvolved rooms."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fleet import RedisServer, Relay, eventually
from tests.ports import free_port, release_port

REDIS_CONFIG: Final = Path(__file__).parents[2] / "deploy" / "redis" / "redis.conf"
STARTED: Final = 40.0
"""Seconds within which workers start on a busy machine."""


@dataclass(frozen=True, slots=True)
class Arena:
    """The worker under attack, the other one, and their Redis. All settings have their defaults but the admin port."""

    attacked: Relay
    other: Relay
    redis: RedisServer


@asynccontextmanager
async def arena(tree: Path | None = None) -> AsyncIterator[Arena]:
    """Start everything, from this tree or another one, and end it with the context."""
    redis = RedisServer(config=REDIS_CONFIG)
    relays: list[Relay] = []
    ports = [free_port(), free_port()]
    try:
        redis.start()
        for port in ports:
            listen = f"127.0.0.1:{port}"
            relays.append(Relay(redis_url=redis.url, quick={}, tree=tree, admin_listen=listen, worker_id=f"w{port}"))
        for relay in relays:
            await eventually(relay.healthy, STARTED)
        yield Arena(*relays, redis)
    finally:
        for relay in relays:
            relay.close()
        for port in ports:
            release_port(port)
        redis.close()
