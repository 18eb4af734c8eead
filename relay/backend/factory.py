"""Puts the parts of a backend together: in memory, or over Redis."""

import random
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Self

from relay.backend.addresses import Addresses
from relay.backend.bus import Bus, Sink
from relay.backend.fleet_keys import FleetKeys
from relay.backend.memory.addresses import MemoryAddresses
from relay.backend.memory.bus import MemoryBus
from relay.backend.memory.fleet_keys import MemoryFleetKeys
from relay.backend.memory.positions import MemoryDeliveredPositions
from relay.backend.memory.presence import MemoryLeases, MemoryPresence
from relay.backend.memory.state import MemoryRooms
from relay.backend.memory.watches import MemoryWatchedRooms
from relay.backend.positions import DeliveredPositions
from relay.backend.presence import HasLivingWorkers, LeaseName, Leases, ListRooms, Presence
from relay.backend.redis.addresses import RedisAddresses
from relay.backend.redis.bus import RedisBus
from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.fleet_keys import RedisFleetKeys
from relay.backend.redis.keys import Keys
from relay.backend.redis.leases import RedisLeases
from relay.backend.redis.positions import RedisDeliveredPositions
from relay.backend.redis.presence import RedisPresence
from relay.backend.redis.registration import Registration
from relay.backend.redis.room_list import occupied_rooms
from relay.backend.redis.run import RedisRun
from relay.backend.redis.scripts import milliseconds
from relay.backend.redis.vouching import has_living_workers
from relay.backend.redis.watches import RedisWatchedRooms
from relay.backend.settings import (
    BackendSettings,
    ForwardAddress,
    HistorySettings,
    LeaseSettings,
    RedisSettings,
    RoomSettings,
)
from relay.backend.stamps import Stamp, StampOf
from relay.backend.watches import WatchedRooms
from relay.config import Settings
from relay.limits import Clock
from relay.metrics import Metrics

_DIAL_TIMEOUT = 1.5
"""Seconds for one attempt to connect to Redis: short, so that after an outage the next attempt comes soon."""

_PUBLISH_QUEUE = 1000
"""Publishes of one worker that wait while Redis is away; further ones are refused with `unavailable`."""


@dataclass(slots=True)
class Backend:
    """A worker's backend; `async with` opens its parts in order, and closes them in reverse."""

    bus: Bus
    presence: Presence
    leases: Leases
    list_rooms: ListRooms
    has_living_workers: HasLivingWorkers
    fleet_keys: FleetKeys
    addresses: Addresses
    positions: DeliveredPositions
    watched: WatchedRooms
    stamp: StampOf
    parts: tuple[AbstractAsyncContextManager[object], ...]
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for part in self.parts:
                await stack.enter_async_context(part)
            # Only when all parts are open: if one fails, those opened before it are closed again.
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()


def backend_settings(
    settings: Settings, *, heartbeat_interval: float, forward: ForwardAddress | None = None
) -> BackendSettings:
    """Return the backend's settings, made from those of the relay."""
    redis = RedisSettings(
        url=settings.redis_url,
        password=settings.redis_password,
        prefix=settings.redis_prefix,
        timeout=settings.publish_timeout,
        queue=_PUBLISH_QUEUE,
        probe_timeout=settings.probe_timeout,
    )
    return BackendSettings(
        rooms=RoomSettings(
            members=settings.members_per_room,
            roster=settings.presence_list_limit,
            # A welcome may have a roster and a replay: a quarter of the send buffer is left for live events.
            roster_bytes=settings.send_buffer // 4,
            state_ttl=settings.room_state_ttl,
            history=HistorySettings(
                size=settings.history_size,
                ttl=settings.history_ttl,
                bytes=settings.history_bytes,
                # A replay goes into the connection's send buffer, and leaves half of it for live events.
                replay_bytes=settings.send_buffer // 2,
            ),
        ),
        lease=LeaseSettings(
            duration=settings.worker_lease, interval=heartbeat_interval, grace=settings.reconnect_grace
        ),
        redis=redis if settings.redis_url else None,
        forward=forward,
    )


def build_backend(
    settings: BackendSettings,
    *,
    worker: str,
    sink: Sink,
    metrics: Metrics,
    clock: Clock,
    on_new_run: Callable[[], None] = lambda: None,
) -> Backend:
    """Build the backend of the worker with this name; its bus delivers to `sink` once the backend is opened.

    `on_new_run` is called when Redis has come back as another run, which may have older data.
    """
    lease = LeaseName(worker)
    if settings.redis is None:
        rooms = MemoryRooms(clock, time.time, settings.rooms.history)
        bus = MemoryBus(sink, rooms, settings.rooms.history)
        presence = MemoryPresence(rooms, lease, settings.rooms)
        leases = MemoryLeases(rooms, lease, settings.lease)
        return Backend(
            bus,
            presence,
            leases,
            rooms.list_rooms,
            _has_living_workers,
            MemoryFleetKeys(time.time),
            MemoryAddresses(time.time),
            MemoryDeliveredPositions(rooms),
            MemoryWatchedRooms(),
            lambda arrived: str(Stamp.exact(arrived)),
            (bus,),
        )
    keys = Keys(settings.redis.prefix)
    run = RedisRun(keys, ttl=settings.rooms.state_ttl, on_change=partial(_note_new_run, metrics, on_new_run))
    return _over_redis(settings, settings.redis, run, lease, sink, metrics, clock)


def _note_new_run(metrics: Metrics, on_new_run: Callable[[], None]) -> None:
    metrics.redis_run_changes.inc()
    on_new_run()


async def _has_living_workers(_: str) -> bool:
    """In memory, there is one worker."""
    return True


def _over_redis(
    settings: BackendSettings,
    redis: RedisSettings,
    run: RedisRun,
    lease: LeaseName,
    sink: Sink,
    metrics: Metrics,
    clock: Clock,
) -> Backend:
    keys = Keys(redis.prefix, redis.database)
    dialer = Dialer(
        redis.url,
        password=redis.password,
        timeout=min(redis.timeout, _DIAL_TIMEOUT),
        name=f"relay-{lease.worker}",
    )
    client = RedisClient(
        dialer,
        timeout=redis.timeout,
        waiting=redis.queue,
        on_reconnect=metrics.redis_reconnects.inc,
        on_error=metrics.redis_errors.inc,
        run=run,
    )
    bus = RedisBus(
        sink,
        client,
        dialer,
        redis,
        settings.rooms,
        # Its own even if two workers have the same name: neither may take the other's probe for its own.
        worker=f"{lease.worker}/{random.getrandbits(48):012x}",
        metrics=metrics,
        clock=clock,
    )
    registration = Registration(client, keys, lease, settings)
    addresses = RedisAddresses(client, keys, lease, settings.forward)
    return Backend(
        bus,
        RedisPresence(client, keys, lease, settings.rooms, registration),
        RedisLeases(client, keys, lease, settings, registration, addresses),
        partial(occupied_rooms, client, keys),
        partial(has_living_workers, client, keys, milliseconds(settings.lease.duration)),
        RedisFleetKeys(client, keys, ttl=settings.rooms.state_ttl),
        addresses,
        RedisDeliveredPositions(client, keys, ttl=settings.rooms.state_ttl),
        RedisWatchedRooms(client, keys, ttl=settings.rooms.state_ttl),
        lambda arrived: str(client.clock.stamp(arrived) or ""),
        (client, bus),
    )
