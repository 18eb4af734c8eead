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
from relay.backend.broadcasts import Broadcasts
from relay.backend.bus import Bus, Sink
from relay.backend.channels import RecentChannels
from relay.backend.checkpoints import Checkpoints
from relay.backend.fleet_keys import FleetKeys
from relay.backend.headroom import Headroom
from relay.backend.memory.addresses import MemoryAddresses
from relay.backend.memory.broadcasts import MemoryBroadcasts
from relay.backend.memory.bus import MemoryBus
from relay.backend.memory.channels import MemoryRecentChannels
from relay.backend.memory.checkpoints import MemoryCheckpoints
from relay.backend.memory.fleet_keys import MemoryFleetKeys
from relay.backend.memory.positions import MemoryDeliveredPositions
from relay.backend.memory.presence import MemoryLeases, MemoryPresence
from relay.backend.memory.rules import MemoryRoomRules
from relay.backend.memory.state import MemoryRooms
from relay.backend.memory.subjects import MemorySubjects
from relay.backend.memory.trees import MemoryTrees
from relay.backend.memory.turns import MemoryTurns
from relay.backend.memory.usage import MemoryAddressUsage
from relay.backend.memory.waiting import MemoryWaitingMessages
from relay.backend.memory.watches import MemoryWatchedRooms
from relay.backend.memory.webhooks import MemoryWebhookQueue
from relay.backend.positions import DeliveredPositions
from relay.backend.presence import HasLivingWorkers, LeaseName, Leases, ListRooms, Presence, StandingsOf
from relay.backend.redis.addresses import RedisAddresses
from relay.backend.redis.broadcasts import RedisBroadcasts
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
from relay.backend.redis.standings import standings
from relay.backend.redis.subjects import RedisSubjects
from relay.backend.redis.tags import TagOf, tags_of
from relay.backend.redis.trees import RedisTrees
from relay.backend.redis.turns import RedisTurns
from relay.backend.redis.usage import RedisAddressUsage
from relay.backend.redis.vouching import has_living_workers
from relay.backend.redis.waiting import RedisWaitingMessages
from relay.backend.redis.watches import RedisWatchedRooms
from relay.backend.redis.webhooks import RedisWebhookQueue
from relay.backend.rules import RoomControls, RoomRulesStore
from relay.backend.settings import (
    BackendSettings,
    ForwardAddress,
    HistorySettings,
    LeaseSettings,
    RedisSettings,
    RoomSettings,
    WebhookQueueSettings,
)
from relay.backend.stamps import Stamp, StampOf
from relay.backend.subjects import Subjects
from relay.backend.trees import Trees
from relay.backend.turns import Turns
from relay.backend.usage import AddressUsage
from relay.backend.waiting import WaitingMessages
from relay.backend.watches import WatchedRooms
from relay.backend.webhooks import Outboxes, WebhookQueue
from relay.config import Settings
from relay.fleet_key import FleetKey
from relay.limits import Clock
from relay.metrics import Metrics

_MOST_CLAIM = 5.0
"""Seconds after which the sender of the webhook's events is replaced, unless the lease of a worker is shorter."""

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
    standings: StandingsOf
    fleet_keys: FleetKeys
    addresses: Addresses
    positions: DeliveredPositions
    waiting: WaitingMessages
    checkpoints: Checkpoints
    watched: WatchedRooms
    channels: RecentChannels
    usage: AddressUsage
    turns: Turns
    subjects: Subjects
    broadcasts: Broadcasts
    trees: Trees
    headroom: Headroom
    rules: RoomRulesStore
    controls: RoomControls
    stamp: StampOf
    webhook: WebhookQueue | None
    outboxes: Outboxes
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
    return BackendSettings(
        rooms=RoomSettings(
            members=settings.members_per_room,
            places=settings.places_per_address,
            rules_ttl=settings.rules_ttl,
            owners=settings.owner_rules == "on",
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
        redis=_redis_settings(settings) if settings.redis_url else None,
        forward=forward,
        memory_share=settings.memory_share,
        history_memory=settings.history_memory,
        webhook=WebhookQueueSettings(settings.webhook_queue, claim=webhook_claim(settings))
        if settings.webhook_url
        else None,
    )


def _redis_settings(settings: Settings) -> RedisSettings:
    return RedisSettings(
        url=settings.redis_url,
        password=settings.redis_password,
        prefix=settings.redis_prefix,
        timeout=settings.publish_timeout,
        queue=_PUBLISH_QUEUE,
        probe_timeout=settings.probe_timeout,
        addresses=settings.redis_addresses,
        shards_needed=settings.shards_needed,
        replicas=settings.replicas,
    )


def webhook_claim(settings: Settings) -> float:
    """Return for how many seconds a worker stays the sender of the webhook's events after it was heard of."""
    return min(_MOST_CLAIM, settings.worker_lease)


def build_backend(
    settings: BackendSettings,
    *,
    worker: str,
    sink: Sink,
    fleet_key: FleetKey,
    metrics: Metrics,
    clock: Clock,
    on_new_run: Callable[[], object] = lambda: None,
    on_rules_asked: Callable[[str], None] = lambda room: None,
) -> Backend:
    """Build the backend of the worker with this name; its bus delivers to `sink` once the backend is opened.

    `on_new_run` is called when Redis has come back as another run, which may have older data. `on_rules_asked` is
    called with a room whose rules Redis has lost, and that somebody wants to join.
    """
    lease = LeaseName(worker)
    if settings.redis is None:
        return _in_memory(settings, lease, sink, metrics, clock)
    on_run = partial(_note_new_run, metrics, on_new_run)
    return _over_redis(
        settings, settings.redis, on_run, lease, sink, tags_of(fleet_key), on_rules_asked, metrics, clock
    )


def _in_memory(settings: BackendSettings, lease: LeaseName, sink: Sink, metrics: Metrics, clock: Clock) -> Backend:
    headroom = Headroom(settings.memory_share, "history-memory", metrics.memory_share.set)
    rooms = MemoryRooms(clock, time.time, settings.rooms.history, headroom, limit=settings.history_memory)
    bus = MemoryBus(sink, rooms, settings.rooms.history)
    outboxes = Outboxes()
    rooms.webhook = _memory_webhook(settings, outboxes, metrics)
    waiting = MemoryWaitingMessages(clock)
    presence = MemoryPresence(rooms, lease, settings.rooms, waiting)
    leases = MemoryLeases(rooms, lease, settings.lease)
    rules = MemoryRoomRules(rooms, settings.rooms)
    return Backend(
        bus=bus,
        presence=presence,
        leases=leases,
        list_rooms=rooms.list_rooms,
        has_living_workers=_has_living_workers,
        standings=presence.standings,
        fleet_keys=MemoryFleetKeys(time.time),
        addresses=MemoryAddresses(time.time),
        positions=MemoryDeliveredPositions(rooms),
        waiting=waiting,
        checkpoints=MemoryCheckpoints(clock),
        watched=MemoryWatchedRooms(),
        channels=MemoryRecentChannels(ttl=settings.rooms.history.ttl, clock=clock),
        usage=MemoryAddressUsage(time.time),
        turns=MemoryTurns(clock),
        subjects=MemorySubjects(),
        broadcasts=MemoryBroadcasts(rooms),
        trees=MemoryTrees(rooms),
        headroom=headroom,
        rules=rules,
        controls=rules,
        stamp=lambda room, arrived: str(Stamp.exact(arrived)),
        webhook=rooms.webhook,
        outboxes=outboxes,
        parts=(bus,),
    )


def _memory_webhook(settings: BackendSettings, noted: Outboxes, metrics: Metrics) -> MemoryWebhookQueue | None:
    if settings.webhook is None:
        return None
    return MemoryWebhookQueue(settings.webhook, time.time, noted, on_dropped=metrics.webhook_dropped.inc)


def _note_new_run(metrics: Metrics, on_new_run: Callable[[], object]) -> None:
    metrics.redis_run_changes.inc()
    on_new_run()


async def _has_living_workers(_: str) -> bool:
    """In memory, there is one worker."""
    return True


def _over_redis(
    settings: BackendSettings,
    redis: RedisSettings,
    on_new_run: Callable[[], object],
    lease: LeaseName,
    sink: Sink,
    tag_of: TagOf,
    on_rules_asked: Callable[[str], None],
    metrics: Metrics,
    clock: Clock,
) -> Backend:
    make = parts_of_cluster if redis.is_cluster else parts_of_one
    # The probe's name is its own even if two workers have the same name: neither may take the other's for its own.
    probe = f"{lease.worker}/{random.getrandbits(48):012x}"
    parts = make(settings, redis, lease, metrics, clock, on_new_run=on_new_run, probe=probe)
    client, keys, registration = parts.client, parts.keys, parts.registration
    bus = RedisBus(
        sink,
        client,
        parts.lines,
        redis,
        settings.rooms,
        metrics=metrics,
        clock=clock,
        on_rules_asked=on_rules_asked,
        durability=parts.durability,
    )
    addresses = RedisAddresses(client, keys, lease, settings.forward)
    noted, webhook = Outboxes(), _redis_webhook(settings, client, keys, lease, metrics)
    outboxes = RedisOutboxes(keys, registration, noted if webhook else None, ttl=milliseconds(settings.rooms.state_ttl))
    rules = RedisRoomRules(client, keys, bus, settings.rooms, outboxes)
    return Backend(
        bus=bus,
        presence=RedisPresence(client, keys, lease, settings.rooms, registration, tag_of, outboxes),
        leases=parts.make_leases(addresses, outboxes),
        list_rooms=RedisRoomList(client, keys),
        has_living_workers=partial(has_living_workers, client, keys, milliseconds(settings.lease.duration)),
        standings=partial(standings, client, keys),
        fleet_keys=RedisFleetKeys(client, keys, ttl=settings.rooms.state_ttl),
        addresses=addresses,
        positions=RedisDeliveredPositions(client, keys, ttl=settings.rooms.state_ttl),
        waiting=RedisWaitingMessages(client, keys),
        checkpoints=RedisCheckpoints(client, keys),
        watched=RedisWatchedRooms(client, keys, ttl=settings.rooms.state_ttl),
        channels=RedisRecentChannels(client, keys, ttl=settings.rooms.history.ttl),
        usage=RedisAddressUsage(client, keys),
        turns=RedisTurns(client, keys),
        subjects=RedisSubjects(client, keys, lease.worker),
        broadcasts=RedisBroadcasts(client, keys),
        trees=RedisTrees(client, keys, settings.rooms),
        headroom=client.headroom,
        rules=rules,
        controls=rules,
        stamp=lambda room, arrived: str(client.at_room(room).clock.stamp(arrived) or ""),
        webhook=webhook,
        outboxes=noted,
        parts=(parts.opened, bus),
    )


def _redis_webhook(
    settings: BackendSettings, client: Redis, keys: Keys, lease: LeaseName, metrics: Metrics
) -> RedisWebhookQueue | None:
    if settings.webhook is None:
        return None
    return RedisWebhookQueue(client, keys, lease.worker, settings.webhook, metrics.webhook_dropped.inc)
