"""Composition: makes the parts of a worker from its settings, and connects them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from relay import ids
from relay.backend.factory import Backend, backend_settings, build_backend
from relay.backend.settings import ForwardAddress
from relay.config import Settings
from relay.fleet_key import FleetKey
from relay.limits import Clock
from relay.metrics import Metrics
from relay.model.workers import LocalWorkers
from relay.rooms.announcer import Announcer
from relay.rooms.attempts import Attempts
from relay.rooms.counts import CountNotices
from relay.rooms.departures import Departures
from relay.rooms.directory import Directory
from relay.rooms.fleet_key_sharing import FleetKeySharing
from relay.rooms.gaps import GapRecovery
from relay.rooms.health import HealthMonitor
from relay.rooms.heartbeat import Heartbeat, HeartbeatTiming, beat_interval
from relay.rooms.hub import Hub
from relay.rooms.infos import MemberInfos
from relay.rooms.member_lists import MemberLists
from relay.rooms.membership import Membership
from relay.rooms.notices import PresenceNotices
from relay.rooms.observation import Observation
from relay.rooms.positions import PositionTracker
from relay.rooms.publisher import Publisher
from relay.rooms.registry import LocalRooms
from relay.rooms.renewal import RoomRenewal
from relay.rooms.state_check import StateCheck
from relay.rooms.subscriptions import RoomSubscriptions
from relay.rooms.takeover import Takeover
from relay.rooms.upkeep import Upkeep
from relay.rooms.watches import Watches
from relay.tasks import BackgroundTasks

_NOTICE_DELAY = 0.02
"""Seconds for which joins and leaves are gathered before they are sent."""

_DEAF_PROBES = 10
"""Probes in a row that may get lost before a worker counts as deaf, that is, receives none of its own messages."""


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """The parts of a worker that its facade uses. `tasks` owns their background tasks."""

    backend: Backend
    tasks: BackgroundTasks
    hub: Hub
    notices: PresenceNotices
    membership: Membership
    observation: Observation
    publisher: Publisher
    directory: Directory
    lists: MemberLists
    infos: MemberInfos
    health: HealthMonitor
    heartbeat: Heartbeat
    upkeep: Upkeep
    fleet_key_sharing: FleetKeySharing
    positions: PositionTracker


@dataclass(frozen=True, slots=True)
class WorkerBasis:
    """The values from which all parts of one worker are made; `name` is the worker's."""

    settings: Settings
    name: str
    local: LocalWorkers
    fleet_key: FleetKey
    metrics: Metrics
    random: ids.IdGenerator
    clock: Clock


def compose(basis: WorkerBasis, *, on_deaf: Callable[[], None]) -> WorkerParts:
    """Make the parts of a worker; nothing is opened or started yet.

    `on_deaf` is called when the worker does not receive its own messages any more: its clients should go to other
    workers.
    """
    settings, metrics, clock = basis.settings, basis.metrics, basis.clock
    tasks, interval = BackgroundTasks(), beat_interval(settings.worker_lease)
    rooms = LocalRooms(metrics)
    notices = PresenceNotices(rooms, lambda flush: asyncio.get_running_loop().call_later(_NOTICE_DELAY, flush))
    # The hub delivers the events that the bus receives, and gap recovery reads missing events with the bus: a circle
    # that the lambdas close.
    hub = Hub(
        rooms,
        notices,
        metrics,
        on_gap=lambda names: gaps.begin(names),
        on_count=lambda name: counts.note(name),
        on_new_epoch=lambda name: gaps.begin_epoch(name),
        on_joined=lambda name: watches.look(name),
    )
    backend = _backend(basis, hub, interval, on_new_run=lambda: state_check.begin())
    bus, presence, leases = backend.bus, backend.presence, backend.leases
    watches = Watches(rooms, backend.watched)
    subscriptions = RoomSubscriptions(rooms, bus, watches)
    departures = Departures(
        presence, grace=settings.reconnect_grace, clock=clock, metrics=metrics, on_settled=subscriptions.note_idle
    )
    positions = PositionTracker(
        backend.positions, notices, tasks, ttl=settings.room_state_ttl, clock=clock, metrics=metrics
    )
    announcer = Announcer(hub, presence, departures, on_loss=positions.note_again)
    lists = MemberLists(hub, presence, timeout=settings.publish_timeout)
    gaps = GapRecovery(hub, bus, presence, announcer, lists, tasks, lease=settings.worker_lease)
    counts = CountNotices(rooms, presence, tasks)
    state_check = StateCheck(hub, departures, bus, backend.has_living_workers, tasks)
    health = HealthMonitor(
        bus,
        basis.fleet_key,
        uses_redis=bool(settings.redis_url),
        deaf_limit=settings.probe_timeout * _DEAF_PROBES,
        on_deaf=on_deaf,
        clock=clock,
        metrics=metrics,
    )
    takeover = Takeover(leases, departures, tasks, metrics)
    timing = HeartbeatTiming(settings.worker_lease, interval)
    renewal = RoomRenewal(
        rooms,
        departures,
        leases,
        rounds=settings.room_state_ttl / interval,
        metrics=metrics,
        on_lost=gaps.renew_epoch,
    )
    return WorkerParts(
        backend=backend,
        tasks=tasks,
        hub=hub,
        notices=notices,
        membership=Membership(
            hub,
            bus,
            subscriptions,
            departures,
            announcer,
            Attempts(presence, backend.stamp, basis.fleet_key, basis.random),
            metrics=metrics,
        ),
        observation=Observation(hub, presence, subscriptions, limit=settings.observers_per_room),
        publisher=Publisher(hub, bus, announcer, tasks, clock=clock, metrics=metrics),
        directory=Directory(rooms, bus, presence, backend.list_rooms),
        lists=lists,
        infos=MemberInfos(rooms, presence, announcer, clock),
        health=health,
        heartbeat=Heartbeat(leases, announcer, takeover, health, timing, clock=clock, metrics=metrics),
        upkeep=Upkeep(departures, subscriptions, renewal, health, interval=interval, clock=clock),
        fleet_key_sharing=FleetKeySharing(
            basis.fleet_key, backend.fleet_keys, health, interval=interval, clock=clock, metrics=metrics
        ),
        positions=positions,
    )


def _backend(basis: WorkerBasis, hub: Hub, interval: float, on_new_run: Callable[[], None]) -> Backend:
    """Make the backend, which delivers to the hub; `interval` is that of the heartbeat."""
    local = basis.local
    forward = ForwardAddress(str(local.owner), local.forward_address) if local.forward_address else None
    return build_backend(
        backend_settings(basis.settings, heartbeat_interval=interval, forward=forward),
        worker=basis.name,
        sink=hub.deliver,
        on_new_run=on_new_run,
        metrics=basis.metrics,
        clock=basis.clock,
    )
