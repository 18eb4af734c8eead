"""One suite per seam, over every implementation: memory, fakeredis, and a real redis-server."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from threading import Thread
from typing import Any

import pytest
from fakeredis import TcpFakeServer

from relay.backend.bus import Bus
from relay.backend.memory.bus import MemoryBus
from relay.backend.memory.presence import MemoryLeases, MemoryPresence
from relay.backend.memory.state import MemoryRooms
from relay.backend.presence import LeaseName, Leases, Presence, Terms
from relay.backend.redis.bus import RedisBus
from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.keys import Keys
from relay.backend.redis.presence import RedisLeases, RedisPresence, RegisteredRooms
from relay.limits import LogTerms
from relay.metrics import Metrics
from relay.model.envelope import Publication, splice
from relay.model.errors import RelayError
from relay.model.events import Delivery

LOG = LogTerms(length=50, age=30, replay_bytes=100_000, repeat_keys=200)
TERMS = Terms(
    lease=0.6,
    grace=0.3,
    beat_interval=0.1,
    presence_ttl=30,
    sequence_ttl=60,
    members_per_room=5,
    presence_list=3,
)


@dataclass
class Ear:
    """A sink that can be waited on."""

    heard: list[Delivery] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, batch: Sequence[Delivery]) -> None:
        self.heard += batch
        self._changed.set()

    async def until(self, condition: Callable[[list[Delivery]], Any], timeout: float = 5) -> None:
        async with asyncio.timeout(timeout):
            while not condition(self.heard):
                self._changed.clear()
                await self._changed.wait()


@dataclass
class FakeWorker:
    """The lower floors of one worker."""

    bus: Bus
    presence: Presence
    leases: Leases
    lease: LeaseName
    ear: Ear
    client: RedisClient | None = None
    keys: Keys | None = None

    async def say(self, room: str, text: bytes = b'{"x":1}', sender: str = "$server", **more: Any) -> Any:
        told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.bus.publish(Publication(room, splice(text, sender), sender, **more), told.set_result)
        outcome = await told
        if isinstance(outcome, RelayError):
            raise outcome
        return outcome


MakeWorker = Callable[..., Any]


@pytest.fixture(scope="session")
def fake_redis_url() -> Iterator[str]:
    server = TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    server.daemon_threads, server.block_on_close = True, False
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"redis://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["memory", "fakeredis", "redis"])
def backend(request: pytest.FixtureRequest) -> str:
    """The URL of a Redis, or "" for memory."""
    if request.param == "memory":
        return ""
    return str(request.getfixturevalue("fake_redis_url" if request.param == "fakeredis" else "redis_url"))


_numbers = itertools.count()


@pytest.fixture
async def make_worker(backend: str) -> AsyncIterator[MakeWorker]:
    """Makes workers that share one state; each test has a state of its own."""
    rooms: dict[LogTerms, MemoryRooms] = {}
    prefix = f"contract{next(_numbers)}-{time.time_ns()}"
    async with AsyncExitStack() as stack:

        async def make(name: str, log: LogTerms = LOG, **terms: Any) -> FakeWorker:
            log_terms = {"log_length": log.length, "log_age": log.age}
            lease, ear, its_terms = LeaseName(name), Ear(), replace(TERMS, **log_terms, **terms)
            if not backend:
                shared = rooms.setdefault(log, MemoryRooms(time.monotonic, time.time, log))
                bus = await stack.enter_async_context(MemoryBus(ear, shared, log))
                presence, leases = MemoryPresence(shared, lease, its_terms), MemoryLeases(shared, lease, its_terms)
                return FakeWorker(bus, presence, leases, lease, ear)
            registered = RegisteredRooms()
            keys, dialer = Keys(prefix), Dialer(backend, timeout=3, name=name)
            client = RedisClient(dialer, timeout=3, waiting=2000, on_reconnect=lambda: None)
            await stack.enter_async_context(client)
            bus = RedisBus(
                ear,
                client,
                dialer,
                keys=keys,
                worker=name,
                metrics=Metrics(),
                clock=time.monotonic,
                probe_interval=0.6,
                publish_timeout=3,
                sequence_ttl=60,
                log=log,
            )
            await stack.enter_async_context(bus)
            return FakeWorker(
                bus,
                RedisPresence(client, keys, lease, its_terms, registered),
                RedisLeases(client, keys, lease, its_terms, registered),
                lease,
                ear,
                client,
                keys,
            )

        yield make
