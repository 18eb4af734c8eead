"""One suite per seam, over memory, fakeredis, a real redis-server, a master behind sentinels, and a real cluster."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from threading import Thread
from typing import Any

import pytest
from fakeredis import TcpFakeServer
from fakeredis._clients._tcp_server import TCPFakeRequestHandler
from redis.exceptions import ResponseError

from relay.backend.addresses import Addresses
from relay.backend.bus import Bus
from relay.backend.channels import RecentChannels
from relay.backend.checkpoints import Checkpoints
from relay.backend.fleet_keys import FleetKeys
from relay.backend.memory.addresses import MemoryAddresses
from relay.backend.memory.bus import MemoryBus
from relay.backend.memory.channels import MemoryRecentChannels
from relay.backend.memory.checkpoints import MemoryCheckpoints
from relay.backend.memory.fleet_keys import MemoryFleetKeys
from relay.backend.memory.positions import MemoryDeliveredPositions
from relay.backend.memory.presence import MemoryLeases, MemoryPresence
from relay.backend.memory.rules import MemoryRoomRules
from relay.backend.memory.state import MemoryRooms
from relay.backend.memory.trees import MemoryTrees
from relay.backend.memory.waiting import MemoryWaitingMessages
from relay.backend.memory.webhooks import MemoryWebhookQueue
from relay.backend.positions import DeliveredPositions
from relay.backend.presence import JoinAttempt, JoinResult, LeaseName, Leases, ListRooms, Presence, PresenceEntry
from relay.backend.redis.addresses import RedisAddresses
from relay.backend.redis.bus import RedisBus
from relay.backend.redis.channels import RedisRecentChannels
from relay.backend.redis.checkpoints import RedisCheckpoints
from relay.backend.redis.cluster.parts import parts_of_cluster
from relay.backend.redis.fleet_keys import RedisFleetKeys
from relay.backend.redis.keys import Keys
from relay.backend.redis.outboxes import RedisOutboxes
from relay.backend.redis.parts import parts_of_one
from relay.backend.redis.place import Redis
from relay.backend.redis.positions import RedisDeliveredPositions
from relay.backend.redis.presence import RedisPresence
from relay.backend.redis.room_list import RedisRoomList
from relay.backend.redis.rules import RedisRoomRules
from relay.backend.redis.scripts import milliseconds
from relay.backend.redis.tags import tags_of
from relay.backend.redis.trees import RedisTrees
from relay.backend.redis.waiting import RedisWaitingMessages
from relay.backend.redis.webhooks import RedisWebhookQueue
from relay.backend.settings import (
    BackendSettings,
    ForwardAddress,
    HistorySettings,
    LeaseSettings,
    RedisSettings,
    RoomSettings,
    WebhookQueueSettings,
)
from relay.backend.stamps import Stamp
from relay.backend.trees import Trees
from relay.backend.waiting import WaitingMessages
from relay.backend.webhooks import Outboxes, WebhookQueue
from relay.fleet_key import FleetKey
from relay.metrics import Metrics
from relay.model.commands import Publish
from relay.model.errors import RelayError
from relay.model.events import Delivery
from relay.model.publication import Publication
from tests import redis_user
from tests.conftest import new_prefix

LOG = HistorySettings(size=50, ttl=30, replay_bytes=100_000, repeat_keys=200)
ROOMS = RoomSettings(members=5, places=2, roster=3, state_ttl=60, history=LOG)
FLEET_KEY = FleetKey(["a secret of the fleet in these tests"])
CLAIM = 0.5
"""Seconds for which a worker stays the sender of the webhook's events."""

LEASE = LeaseSettings(duration=60, interval=0.1, grace=0.3)
"""No test waits for the end of such a lease, and it does not end during a test, however slow Redis is."""

SHORT = 0.6
"""Seconds of a lease for tests that wait for its end."""


@dataclass
class Recorder:
    """A sink that can be waited on; it passes all on to `then`, for tests of the layers above the bus."""

    events: list[Delivery] = field(default_factory=list)
    then: Callable[[Sequence[Delivery]], None] = lambda _: None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, batch: Sequence[Delivery]) -> None:
        self.events += batch
        self.then(batch)
        self._changed.set()

    async def until(self, condition: Callable[[list[Delivery]], Any], timeout: float = 15) -> None:
        async with asyncio.timeout(timeout):
            while not condition(self.events):
                self._changed.clear()
                await self._changed.wait()


@dataclass
class FakeWorker:
    """The lower floors of one worker."""

    bus: Bus
    presence: Presence
    leases: Leases
    list_rooms: ListRooms
    lease: LeaseName
    received: Recorder
    fleet_keys: FleetKeys
    positions: DeliveredPositions
    waiting: WaitingMessages
    checkpoints: Checkpoints
    channels: RecentChannels
    rules: Any
    trees: Trees
    client: Redis | None = None
    keys: Keys | None = None
    addresses: Addresses = field(default_factory=lambda: MemoryAddresses(time.time))
    asked: list[str] = field(default_factory=list)
    """Rooms whose rules somebody has asked for."""
    webhook: WebhookQueue | None = None
    outboxes: Outboxes = field(default_factory=Outboxes)
    dropped: list[int] = field(default_factory=list)
    """Numbers of events for the webhook that were dropped, by any worker of the test."""

    def stamp(self, ago: float = 0, *, within: float = 0) -> str:
        """The stamp of a request that arrived so many seconds ago, known to within so many seconds."""
        now = (time.monotonic() if self.client is None else time.time()) - ago
        return str(Stamp(round((now - within) * 1e6), round((now + within) * 1e6)))

    async def publish(self, room: str, text: bytes = b'{"x":1}', sender: str = "$server", **more: Any) -> Any:
        """Publish an envelope, and return its receipt; `more` are fields of the command or of the publication."""
        command = Publish(text, **{name: more.pop(name) for name in Publish.__struct_fields__ if name in more})
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.bus.publish(Publication(command, room, sender, **more), future.set_result)
        outcome = await future
        if isinstance(outcome, RelayError):
            raise outcome
        return outcome


def report_memory(worker: FakeWorker, used: int) -> None:
    """Have this percentage of the memory used, at each node of a cluster that has a room of the tests."""
    if worker.client is None:
        worker.presence._rooms.headroom.report(used, 100)  # type: ignore[attr-defined]
        return
    for room in ("room", "new"):
        worker.client.at_room(room).headroom.report(used, 100)


async def join(
    worker: FakeWorker,
    peer: str = "peer",
    *,
    offered: str = "",
    fresh: str = "f1",
    roster: bool = False,
    info: bytes = b"",
    **more: Any,
) -> tuple[PresenceEntry, JoinResult]:
    """Join the room `room`; returns the entry as the worker would announce it, and the result."""
    more.setdefault("stamp", worker.stamp())
    joined = await worker.presence.join(
        JoinAttempt(room="room", peer=peer, offered=offered, fresh=fresh, roster=roster, info=info, **more)
    )
    return PresenceEntry(
        "room",
        peer,
        joined.generation,
        fresh,
        joined.previous,
        began=joined.began,
        info=joined.info,
        address=more.get("address", ""),
    ), joined


MakeWorker = Callable[..., Any]


class KeepingHandler(TCPFakeRequestHandler):
    """Answers a command that fails with an error, as Redis does; the imitation would end the connection."""

    def setup(self) -> None:
        super().setup()
        read: Callable[[], Any] = self.current_client.read_response

        def answer() -> Any:
            try:
                return read()
            except ResponseError as error:
                return error

        self.current_client.read_response = answer


@pytest.fixture(scope="session")
def fake_redis_url() -> Iterator[str]:
    server = TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    server.RequestHandlerClass = KeepingHandler
    server.daemon_threads, server.block_on_close = True, False
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"redis://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


_URLS = {"fakeredis": "fake_redis_url", "redis": "redis_url", "sentinel": "sentinel_url", "cluster": "cluster_url"}


@pytest.fixture(params=["memory", *_URLS])
def backend(request: pytest.FixtureRequest) -> str:
    """The URL of a Redis or a cluster, or "" for memory."""
    return "" if request.param == "memory" else redis_user.looking(request.getfixturevalue(_URLS[request.param]))


TIMEOUT = 10
"""Seconds for an answer of Redis: the imitation of Redis takes some for a thousand scripts on a busy machine."""


@pytest.fixture
async def make_worker(backend: str) -> AsyncIterator[MakeWorker]:
    """Makes workers that share one state; each test has a state of its own."""
    shared: dict[HistorySettings, MemoryRooms] = {}
    shared_trees: dict[HistorySettings, MemoryTrees] = {}
    shared_keys = MemoryFleetKeys(time.time)
    shared_checkpoints = MemoryCheckpoints(time.monotonic)
    shared_waiting = MemoryWaitingMessages(time.monotonic)
    shared_channels = MemoryRecentChannels(ttl=LOG.ttl, clock=time.monotonic)
    prefix, dropped = new_prefix(), list[int]()
    async with AsyncExitStack() as stack:

        async def make(
            name: str,
            history: HistorySettings = LOG,
            roster_bytes: int = 100_000,
            owners: bool = False,
            webhook: int = 0,
            **lease_settings: Any,
        ) -> FakeWorker:
            lease, received = LeaseName(name), Recorder()
            rooms = replace(ROOMS, history=history, roster_bytes=roster_bytes, owners=owners)
            its_lease = replace(LEASE, **lease_settings)
            if not backend:
                state = shared.setdefault(history, MemoryRooms(time.monotonic, time.time, history))
                if webhook and state.webhook is None:
                    state.webhook = MemoryWebhookQueue(
                        WebhookQueueSettings(webhook), time.time, Outboxes(), on_dropped=dropped.append
                    )
                bus = await stack.enter_async_context(MemoryBus(received, state, history))
                presence = MemoryPresence(state, lease, rooms, shared_waiting)
                leases = MemoryLeases(state, lease, its_lease)
                positions = MemoryDeliveredPositions(state)
                rules = MemoryRoomRules(state, rooms)
                return FakeWorker(
                    bus,
                    presence,
                    leases,
                    state.list_rooms,
                    lease,
                    received,
                    shared_keys,
                    positions,
                    shared_waiting,
                    shared_checkpoints,
                    shared_channels,
                    rules,
                    shared_trees.setdefault(history, MemoryTrees(state)),
                    webhook=state.webhook,
                    dropped=dropped,
                )
            redis = RedisSettings(
                backend, prefix=prefix, timeout=TIMEOUT, queue=2000, probe_timeout=TIMEOUT, shards_needed="all"
            )
            settings = BackendSettings(rooms, its_lease, redis)
            make_parts = parts_of_cluster if redis.is_cluster else parts_of_one
            parts = make_parts(settings, redis, lease, Metrics(), time.monotonic, on_new_run=lambda: None, probe=name)
            await stack.enter_async_context(parts.opened)
            client, keys, registration = parts.client, parts.keys, parts.registration
            asked: list[str] = []
            noted = Outboxes()
            ttl = milliseconds(rooms.state_ttl)
            outboxes = RedisOutboxes(keys, registration, noted if webhook else None, ttl=ttl)
            bus = RedisBus(
                received,
                client,
                parts.lines,
                redis,
                rooms,
                metrics=Metrics(),
                clock=time.monotonic,
                on_rules_asked=asked.append,
            )
            await stack.enter_async_context(bus)
            forward = ForwardAddress(f"owner-{name}", "10.0.0.1:8890")
            addresses = RedisAddresses(client, keys, lease, forward)
            return FakeWorker(
                bus,
                RedisPresence(client, keys, lease, rooms, registration, tags_of(FLEET_KEY), outboxes),
                parts.make_leases(addresses, outboxes),
                RedisRoomList(client, keys),
                lease,
                received,
                RedisFleetKeys(client, keys, ttl=rooms.state_ttl),
                RedisDeliveredPositions(client, keys, ttl=rooms.state_ttl),
                RedisWaitingMessages(client, keys),
                RedisCheckpoints(client, keys),
                RedisRecentChannels(client, keys, ttl=history.ttl),
                RedisRoomRules(client, keys, bus, rooms, outboxes),
                RedisTrees(client, keys, rooms),
                client,
                keys,
                addresses,
                asked,
                webhook=RedisWebhookQueue(
                    client, keys, name, WebhookQueueSettings(webhook or 100, claim=CLAIM), dropped.append
                ),
                outboxes=noted,
                dropped=dropped,
            )

        yield make
