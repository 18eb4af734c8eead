"""The parts of a backend that differ between one Redis and a cluster, and those of one Redis."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from relay.awake import MOST, AwakeTime
from relay.backend.headroom import Headroom
from relay.backend.presence import LeaseName, Leases
from relay.backend.redis.addresses import RedisAddresses
from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.durability import Durability, Replicas
from relay.backend.redis.keys import Keys
from relay.backend.redis.leases import RedisLeases
from relay.backend.redis.line import Lines
from relay.backend.redis.master_line import MasterLine
from relay.backend.redis.outboxes import RedisOutboxes
from relay.backend.redis.place import Redis
from relay.backend.redis.registration import Registration, RoomRegistrar
from relay.backend.redis.replication import RedisReplication
from relay.backend.redis.run import RedisRun
from relay.backend.redis.subscriber import Subscriber
from relay.backend.settings import BackendSettings, RedisSettings
from relay.limits import Clock
from relay.metrics import Metrics

DIAL_TIMEOUT: Final = 1.5
"""Seconds for one attempt to connect to Redis: short, so that after an outage the next attempt comes soon."""


class MakeLeases(Protocol):
    """Makes the leases of a worker."""

    def __call__(self, addresses: RedisAddresses | None, outboxes: RedisOutboxes | None) -> Leases:
        """Return them."""
        ...


@dataclass(frozen=True, slots=True)
class RedisParts:
    """A backend's way to Redis; `opened` is the part to open ahead of the bus."""

    client: Redis
    keys: Keys
    lines: Lines
    registration: RoomRegistrar
    make_leases: MakeLeases
    durability: Durability | None
    opened: AbstractAsyncContextManager[object]


def parts_of_one(
    settings: BackendSettings,
    redis: RedisSettings,
    lease: LeaseName,
    metrics: Metrics,
    clock: Clock,
    *,
    on_new_run: Callable[[], object],
    probe: str,
) -> RedisParts:
    """Make the parts for one Redis; `probe` names the worker in its probe."""
    keys, awake = Keys(redis.prefix, redis.database), awake_time(redis)
    dialer = Dialer(
        redis.url,
        password=redis.password,
        timeout=min(redis.timeout, DIAL_TIMEOUT),
        name=f"relay-{lease.worker}",
        mapped=redis.mapped,
        on_failover=metrics.redis_failovers.inc,
    )
    run = RedisRun(keys, ttl=settings.rooms.state_ttl, on_change=on_new_run)
    client = RedisClient(
        dialer,
        timeout=redis.timeout,
        waiting=redis.queue,
        on_reconnect=metrics.redis_reconnects.inc,
        on_error=metrics.redis_errors.inc,
        run=run,
        headroom=headroom_of(settings, metrics),
        awake=awake,
    )
    replicas = replicas_of(redis, dialer, run, metrics, awake) if redis.replicas else None
    line = MasterLine(
        client,
        Subscriber(dialer, timeout=redis.timeout, on_reconnect=metrics.redis_reconnects.inc, awake=awake),
        dialer,
        RedisReplication(client, dialer, metrics, needed=redis.replicas, clock=clock),
        replicas,
        probe=keys.probe(probe),
        timeout=redis.probe_timeout,
        awake=awake,
    )
    registration = Registration(client, keys, lease, settings)
    return RedisParts(
        client,
        keys,
        line,
        registration,
        lambda addresses, outboxes: RedisLeases(client, keys, lease, settings, registration, addresses, outboxes),
        replicas,
        client,
    )


def awake_time(redis: RedisSettings) -> AwakeTime:
    """Make the clock for timeouts: a worker that stood still must not miss its probe for that, however short it is."""
    return AwakeTime(most=min(MOST, redis.probe_timeout / 6))


def headroom_of(settings: BackendSettings, metrics: Metrics) -> Headroom:
    """Make the headroom of Redis's memory."""
    return Headroom(settings.memory_share, "Redis's maxmemory", metrics.memory_share.set)


def replicas_of(redis: RedisSettings, dialer: Dialer, run: RedisRun, metrics: Metrics, awake: AwakeTime) -> Replicas:
    """Make the part that waits for the replicas of one master."""
    return Replicas(
        dialer,
        run,
        number=redis.replicas,
        timeout=redis.timeout,
        on_reconnect=metrics.redis_reconnects.inc,
        on_unconfirmed=metrics.unconfirmed.inc,
        awake=awake,
    )
