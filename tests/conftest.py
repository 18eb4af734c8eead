"""Fixtures for every test that needs a real server, and the stages of the suite."""

import asyncio
import gc
import itertools
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from tests import redis_user
from tests.clusters import Cluster
from tests.fleet import Client, RedisServer, Relay
from tests.sentinels import SentinelSet

MakeRelay = Callable[..., Awaitable[Relay]]
MakeFleet = Callable[..., Awaitable[list[Relay]]]
MakeClient = Callable[..., Awaitable[Client]]

# The time of one example depends more on the machine than on the code.
settings.register_profile("relay", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("relay")

# A shell without job control starts background commands with SIGINT ignored, and processes inherit that. A program that
# a test starts, and interrupts, would never end.
signal.signal(signal.SIGINT, signal.default_int_handler)

_GATEWAYS = ("browser", "conformance")
"""The folders whose tests drive real clients and browsers: the stage `make test-gateways`."""

_WITHOUT_CLIENTS = ("conformance/autobahn", "conformance/test_engineio_protocol.py")
"""Protocol suites in these folders that need no client program; they are quick, and `make test` runs them."""

_QUIET = (
    *(f"chaos/test_{name}.py" for name in ("churn", "counted", "firebase", "signalmaster", "socketio", "webhooks")),
    "integration/test_positions.py",
    "integration/test_script_costs.py",
)
"""Tests that judge times, or recovery by clocks of their own: they need a machine that does nothing else."""

_numbers = itertools.count()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the stages `make test-gateways` and `make test-quiet`.

    Those of the first that are marked `smoke` run in `make test` as well.
    """
    for item in items:
        if _is_below(item.path, _QUIET):
            item.add_marker("quiet")
        if _is_below(item.path, _GATEWAYS) and not _is_below(item.path, _WITHOUT_CLIENTS):
            item.add_marker("gateways")


def pytest_collection_finish() -> None:
    """Exempt the modules and the collected tests from garbage collection.

    They are hundreds of thousands of objects that stay to the end. Each full collection would visit them all, those of
    tests that count objects as well.
    """
    gc.collect()
    gc.freeze()


class ByFile(LoadFileScheduling):
    """Runs the tests of one file in one process, and those of some folders one file after the other.

    The chaos tests start many processes and wait for recovery within fixed times, and the abuse tests start several.
    The browser tests encode video in software, which takes a whole core. Two such files at the same time would disturb
    each other.
    """

    _ONE_PROCESS = ("tests/abuse/", "tests/browser/", "tests/chaos/")

    def _split_scope(self, nodeid: str) -> str:
        folder = next((one for one in self._ONE_PROCESS if nodeid.startswith(one)), None)
        return folder or super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


def _is_below(path: Path, places: Iterable[str]) -> bool:
    return any(path.is_relative_to(Path(__file__).parent / place) for place in places)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The Redis that the tests of one process share; each test uses its own key prefix."""
    server = RedisServer().start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisServer) -> str:
    return redis_server.url


@pytest.fixture(scope="session")
def sentinel_url() -> Iterator[str]:
    """A master behind sentinels that the tests of one process share; no test has it fail over."""
    sentinels = SentinelSet()
    try:
        asyncio.run(sentinels.start())
        yield sentinels.url
    finally:
        sentinels.close()


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[Cluster]:
    """The cluster that the tests of one process share: three masters without replicas."""
    cluster = Cluster()
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="session")
def cluster_url(redis_cluster: Cluster) -> str:
    return redis_cluster.url


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis for one test, which may kill, stop or flush it."""
    server = RedisServer().start()
    yield server
    server.close()


def new_prefix() -> str:
    """A key prefix for one test, within that of the relay's user."""
    return f"{redis_user.PREFIX}:test{next(_numbers)}-{time.time_ns() % 10**9}"


@pytest.fixture
def prefix() -> str:
    return new_prefix()


@pytest.fixture
async def start() -> AsyncIterator[MakeRelay]:
    """Starts workers and waits until they are ready: `start(redis_url=..., **settings)`."""
    relays: list[Relay] = []

    async def start(*, ready: bool = True, **settings: Any) -> Relay:
        relays.append(Relay(**settings))
        return await relays[-1].ready() if ready else relays[-1]

    yield start
    for relay in relays:
        relay.close()


class Ahead:
    """Starts fleets in advance: when a test takes one, the next with the same settings starts in the background.

    Each fleet has its own key prefix in the shared Redis.
    """

    _KINDS = 2

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._waiting: dict[tuple[Any, ...], list[Relay]] = {}

    def take(self, number: int, **settings: Any) -> list[Relay]:
        kind = (number, *sorted(settings.items()))
        taken = self._waiting.pop(kind, None) or self._begin(number, settings)
        self._waiting[kind] = self._begin(number, settings)
        while len(self._waiting) > self._KINDS:
            self._end(self._waiting.pop(next(iter(self._waiting))))
        return taken

    def close(self) -> None:
        for relays in self._waiting.values():
            self._end(relays)

    def _begin(self, number: int, settings: dict[str, Any]) -> list[Relay]:
        prefix = new_prefix()
        return [Relay(redis_url=self._redis_url, redis_prefix=prefix, **settings) for _ in range(number)]

    @staticmethod
    def _end(relays: list[Relay]) -> None:
        for relay in relays:
            relay.close()


@pytest.fixture(scope="session")
def ahead(redis_url: str) -> Iterator[Ahead]:
    """Fleets that have been started in advance."""
    ahead = Ahead(redis_url)
    yield ahead
    ahead.close()


@pytest.fixture
async def fleet_of(ahead: Ahead) -> AsyncIterator[MakeFleet]:
    """Workers over one Redis, for tests that need no special one: `fleet_of(2, **settings)`."""
    relays: list[Relay] = []

    async def fleet_of(number: int, **settings: Any) -> list[Relay]:
        relays.extend(ahead.take(number, **settings))
        return [await relay.ready() for relay in relays]

    yield fleet_of
    for relay in relays:
        relay.close()


@pytest.fixture
async def enter() -> AsyncIterator[MakeClient]:
    """Opens clients: `enter(relay, "/rooms/x?peer=a")`."""
    clients: list[Client] = []

    async def enter(relay: Relay, path: str = "/rooms/room", **options: Any) -> Client:
        clients.append(await Client.open(relay.ws + path, **options))
        return clients[-1]

    yield enter
    for client in clients:
        client.lose()
        await client.socket.wait_closed()


@pytest.fixture
async def pair(fleet_of: MakeFleet) -> tuple[Relay, Relay]:
    """Two workers over one Redis, with short timings."""
    first, second = await fleet_of(2)
    return first, second
