"""Composition: makes the parts of a worker from its settings, and connects them."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from relay import ids
from relay.backend.factory import Backend, backend_settings, build_backend, webhook_claim
from relay.backend.settings import ForwardAddress
from relay.config import Settings
from relay.fleet_key import FleetKey
from relay.limits import Clock
from relay.metrics import Metrics
from relay.model.envelope import BEFORE_ALL
from relay.model.events import RulesChanged
from relay.model.ice import parse_ice_servers
from relay.model.workers import LocalWorkers
from relay.rooms.announcer import Announcer
from relay.rooms.attempts import Attempts
from relay.rooms.counts import CountNotices
from relay.rooms.crowding import CrowdingLog
from relay.rooms.departures import Departures
from relay.rooms.directory import Directory
from relay.rooms.entrances import Entrances
from relay.rooms.fan_out import FanOut
from relay.rooms.fleet_key_sharing import FleetKeySharing
from relay.rooms.gaps import GapRecovery
from relay.rooms.health import HealthMonitor
from relay.rooms.heartbeat import Heartbeat, HeartbeatTiming, beat_interval
from relay.rooms.history_reads import HistoryReads
from relay.rooms.hub import Hub
from relay.rooms.ice import IceOffers
from relay.rooms.infos import MemberInfos
from relay.rooms.key_sets import KeyFleet, KeySets
from relay.rooms.member_lists import MemberLists
from relay.rooms.membership import Membership
from relay.rooms.notices import PresenceNotices
from relay.rooms.observation import Observation
from relay.rooms.openings import Openings
from relay.rooms.passwords import Passwords
from relay.rooms.positions import PositionTracker
from relay.rooms.publisher import Publisher
from relay.rooms.quotas import Quotas
from relay.rooms.registry import LocalRooms
from relay.rooms.renewal import RoomRenewal
from relay.rooms.rule_copies import RuleCopies
from relay.rooms.rules import Rules
from relay.rooms.state_check import StateCheck
from relay.rooms.subjects import SubjectTracker
from relay.rooms.subscriptions import RoomSubscriptions
from relay.rooms.takeover import Takeover
from relay.rooms.trees import RoomTrees
from relay.rooms.upkeep import Upkeep
from relay.rooms.watches import Watches
from relay.rooms.webhooks import Webhook, WebhookMover, WebhookSender
from relay.tasks import BackgroundTasks
from relay.turn import TurnServers

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
    subjects: SubjectTracker
    places: SubjectTracker
    listings: SubjectTracker
    stored: Quotas
    rules: Rules
    trees: RoomTrees
    ice: IceOffers
    key_sets: KeySets
    webhook: Webhook | None


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
    notices = _notices(basis, rooms)
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
        on_rules=lambda event: copies.note(event),
        on_put_out=lambda name: subscriptions.note_idle(name),
        on_closed=lambda name: copies.forget(name),
    )

    def begin_new_run() -> None:
        # First: the rooms are confirmed next, and then let new members in.
        copies.restore_all()
        state_check.begin()

    backend = _backend(
        basis,
        hub,
        interval,
        on_new_run=begin_new_run,
        on_rules_asked=lambda room: copies.refresh([room]),
    )
    bus, presence, leases = backend.bus, backend.presence, backend.leases
    openings = Openings(rooms, presence, backend.rules, _new_rooms(settings, backend), backend.headroom)
    watches = Watches(rooms, backend.watched)
    subscriptions = RoomSubscriptions(rooms, bus, watches, timeout=settings.publish_timeout, clock=clock)
    departures = Departures(
        presence,
        grace=settings.reconnect_grace,
        clock=clock,
        metrics=metrics,
        on_settled=subscriptions.note_idle,
        is_away=lambda: heartbeat.is_away,
    )
    positions = PositionTracker(
        backend.positions, notices, tasks, ttl=settings.room_state_ttl, clock=clock, metrics=metrics
    )
    copies = RuleCopies(
        backend.rules,
        tasks,
        is_ours=lambda room: rooms.get(room) is not None or room in departures,
        has_members=lambda room: rooms.has_members(room) or room in departures,
        on_newer=lambda room, rules: hub.room_notices.tell(RulesChanged(room, BEFORE_ALL, rules)),
    )
    passwords = Passwords(attempts=settings.password_attempts, clock=clock, metrics=metrics)
    attempts = Attempts(presence, backend.stamp, basis.fleet_key, basis.random)
    places = SubjectTracker(backend.subjects, tasks, kind="place")

    def note_again() -> None:
        positions.note_again()
        places.note_again()

    announcer = Announcer(hub, presence, departures, copies, on_loss=note_again)
    lists = MemberLists(hub, presence, timeout=settings.publish_timeout)
    gaps = GapRecovery(hub, bus, presence, announcer, lists, tasks, lease=settings.worker_lease)
    counts = CountNotices(rooms, presence, tasks)
    state_check = StateCheck(hub, departures, bus, backend.has_living_workers, tasks)
    health = _health(basis, backend, on_deaf)
    fan_out = FanOut(rate=settings.room_delivery_rate, clock=clock, metrics=metrics)
    written = _tree_bytes(settings, backend)
    trees = RoomTrees(backend.trees, hub, announcer, fan_out, tasks, written, ttl=settings.tree_ttl, check=bus.check)
    takeover = Takeover(leases, departures, copies, trees, tasks, metrics)
    timing = HeartbeatTiming(settings.worker_lease, interval)
    heartbeat = Heartbeat(
        leases, announcer, takeover, health, timing, on_return=departures.prolong, clock=clock, metrics=metrics
    )
    renewal = RoomRenewal(
        rooms,
        departures,
        leases,
        rounds=settings.room_state_ttl / interval,
        metrics=metrics,
        unmoved=backend.outboxes,
        on_lost=gaps.renew_epoch,
    )
    ice = ice_offers(settings, metrics)
    return WorkerParts(
        backend=backend,
        tasks=tasks,
        hub=hub,
        notices=notices,
        membership=Membership(
            hub,
            subscriptions,
            departures,
            announcer,
            Entrances(attempts, copies, passwords, closed=settings.closed_rooms == "on"),
            CrowdingLog(settings.places_per_address, clock),
            openings,
            HistoryReads(bus, rate=settings.address_replay_rate, clock=clock, metrics=metrics),
            ice,
            metrics=metrics,
        ),
        observation=Observation(hub, presence, subscriptions, openings, copies, limit=settings.observers_per_room),
        publisher=Publisher(hub, bus, announcer, tasks, backend.channels, fan_out, clock=clock, metrics=metrics),
        directory=Directory(
            backend.channels,
            presence,
            backend.list_rooms,
            _opened_channels(settings, backend),
            backend.headroom,
            check=bus.check,
        ),
        lists=lists,
        infos=MemberInfos(rooms, presence, announcer, clock),
        health=health,
        heartbeat=heartbeat,
        upkeep=Upkeep(departures, subscriptions, renewal, copies, health, interval=interval, clock=clock),
        fleet_key_sharing=FleetKeySharing(
            basis.fleet_key, backend.fleet_keys, health, interval=interval, clock=clock, metrics=metrics
        ),
        positions=positions,
        subjects=SubjectTracker(backend.subjects, tasks),
        places=places,
        listings=SubjectTracker(backend.subjects, tasks, kind="listing"),
        stored=_stored_bytes(settings, backend),
        rules=_rules(basis, backend, copies, passwords),
        trees=trees,
        ice=ice,
        key_sets=_key_sets(basis, backend),
        webhook=_webhook(settings, backend, subscriptions, metrics),
    )


def _notices(basis: WorkerBasis, rooms: LocalRooms) -> PresenceNotices:
    """Make the joins and leaves that are sent together."""
    return PresenceNotices(
        rooms,
        lambda flush: asyncio.get_running_loop().call_later(_NOTICE_DELAY, flush),
        rate=basis.settings.room_presence_rate,
        clock=basis.clock,
        metrics=basis.metrics,
    )


def _health(basis: WorkerBasis, backend: Backend, on_deaf: Callable[[], None]) -> HealthMonitor:
    """Make the health of the worker, to which its tasks report."""
    return HealthMonitor(
        backend.bus,
        basis.fleet_key,
        headroom=backend.headroom,
        uses_redis=bool(basis.settings.redis_url),
        deaf_limit=basis.settings.probe_timeout * _DEAF_PROBES,
        on_deaf=on_deaf,
        clock=basis.clock,
        metrics=basis.metrics,
    )


def _rules(basis: WorkerBasis, backend: Backend, copies: RuleCopies, passwords: Passwords) -> Rules:
    """Make the rules of rooms as the edges see them."""
    owners = basis.settings.owner_rules == "on"
    return Rules(
        backend.rules,
        backend.controls,
        copies,
        passwords,
        owners=owners,
        metrics=basis.metrics,
        check=backend.bus.check,
    )


def ice_offers(settings: Settings, metrics: Metrics) -> IceOffers:
    """Make the offers of STUN and TURN servers."""
    turn = TurnServers(settings.turn_servers, settings.turn_secret, ttl=settings.turn_ttl)
    fixed = parse_ice_servers(settings.ice_servers)
    return IceOffers(fixed, turn if settings.turn_servers else None, metrics=metrics)


def _webhook(
    settings: Settings, backend: Backend, subscriptions: RoomSubscriptions, metrics: Metrics
) -> Webhook | None:
    """Make the loops of the webhook, if there is one."""
    queue, outboxes = backend.webhook, backend.outboxes
    if queue is None:
        return None
    # Here, as the HTTP library takes memory that a worker without a webhook does not need.
    from relay.webhooks.receiver import WebhookReceiver

    receiver = WebhookReceiver(
        settings.webhook_url, settings.webhook_secret.split(), timeout=settings.webhook_timeout, wall_clock=time.time
    )
    # A room that is not needed any more stays registered until its events are moved.
    mover = WebhookMover(queue, outboxes, on_moved=subscriptions.note_idle)
    sender = WebhookSender(
        queue,
        receiver,
        mover.added,
        batch=settings.webhook_batch,
        claim=webhook_claim(settings),
        wall_clock=time.time,
        metrics=metrics,
    )
    return Webhook(mover, sender, outboxes)


def _key_sets(basis: WorkerBasis, backend: Backend) -> KeySets:
    """Make the keys that prove tokens."""
    fleet = KeyFleet(backend.turns, basis.fleet_key, backend.addresses.now)
    return KeySets(basis.settings, fleet, metrics=basis.metrics, clock=basis.clock)


def _new_rooms(settings: Settings, backend: Backend) -> Quotas:
    """Make the quotas of rooms that addresses open; a worker reports a sixty-fourth of one at a time."""
    most = settings.new_rooms_per_address
    return Quotas(
        "rooms", most, backend.usage, step=max(1, most // 64), use="new rooms", setting="new-rooms-per-address"
    )


def _opened_channels(settings: Settings, backend: Backend) -> Quotas:
    """Make the quotas of channels that addresses open without a message: as many as rooms."""
    most = settings.new_rooms_per_address
    return Quotas("channels", most, backend.usage, use="opened channels", setting="new-rooms-per-address")


def _stored_bytes(settings: Settings, backend: Backend) -> Quotas:
    """Make the quotas of the bytes of messages that are stored; a worker reports a sixty-fourth of one at a time."""
    most = settings.address_history_bytes
    return Quotas(
        "bytes", most, backend.usage, step=most // 64, use="bytes of stored messages", setting="address-history-bytes"
    )


def _tree_bytes(settings: Settings, backend: Backend) -> Quotas:
    """Make the quotas of the bytes of trees; a worker reports a sixty-fourth of one at a time."""
    most = settings.address_tree_bytes
    return Quotas(
        "trees",
        most,
        backend.usage,
        step=most // 64,
        use="bytes of trees",
        setting="address-tree-bytes",
        length=round(settings.tree_ttl * 1000),
    )


def _backend(
    basis: WorkerBasis,
    hub: Hub,
    interval: float,
    on_new_run: Callable[[], object],
    on_rules_asked: Callable[[str], None],
) -> Backend:
    """Make the backend, which delivers to the hub; `interval` is that of the heartbeat."""
    local = basis.local
    forward = ForwardAddress(str(local.owner), local.forward_address) if local.forward_address else None
    return build_backend(
        backend_settings(basis.settings, heartbeat_interval=interval, forward=forward),
        worker=basis.name,
        sink=hub.deliver,
        fleet_key=basis.fleet_key,
        on_new_run=on_new_run,
        on_rules_asked=on_rules_asked,
        metrics=basis.metrics,
        clock=basis.clock,
    )
