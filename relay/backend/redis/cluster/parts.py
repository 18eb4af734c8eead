"""The parts of a backend over a cluster."""

from collections.abc import Callable

from relay.awake import AwakeTime
from relay.backend.presence import LeaseName, Leases
from relay.backend.redis.addresses import RedisAddresses
from relay.backend.redis.client import RedisClient
from relay.backend.redis.cluster.client import ClusterClient
from relay.backend.redis.cluster.durability import ClusterDurability
from relay.backend.redis.cluster.keys import ClusterKeys
from relay.backend.redis.cluster.leases import GroupedLeases, GroupedRegistration
from relay.backend.redis.cluster.lines import ClusterLines, ShardLine
from relay.backend.redis.cluster.memory import ClusterHeadroom
from relay.backend.redis.cluster.node import Node
from relay.backend.redis.cluster.refusals import ShardRefusals
from relay.backend.redis.cluster.replication import ShardReplication
from relay.backend.redis.cluster.search import TopologySearch
from relay.backend.redis.cluster.topology import AddressMap
from relay.backend.redis.connection import Dialer
from relay.backend.redis.leases import RedisLeases
from relay.backend.redis.lookups import Lookups
from relay.backend.redis.memory import RedisMemory
from relay.backend.redis.outboxes import RedisOutboxes
from relay.backend.redis.parts import DIAL_TIMEOUT, RedisParts, awake_time, replicas_of
from relay.backend.redis.registration import Registration
from relay.backend.redis.replies import shown
from relay.backend.redis.run import RedisRun
from relay.backend.settings import BackendSettings, RedisSettings
from relay.config.redis_url import Address, parse_redis_url
from relay.limits import Clock
from relay.metrics import Metrics

Dial = Callable[[Address], Dialer]
"""Makes the dialer for a node."""


def parts_of_cluster(
    settings: BackendSettings,
    redis: RedisSettings,
    lease: LeaseName,
    metrics: Metrics,
    clock: Clock,
    *,
    on_new_run: Callable[[], object],
    probe: str,
) -> RedisParts:
    """Make the parts for a cluster; `probe` names the worker in its probes."""
    keys, awake = ClusterKeys(redis.prefix), awake_time(redis)
    dial = dialing(redis, lease.worker)
    cluster = cluster_client(settings, redis, keys, metrics, dial, on_new_run=on_new_run, awake=awake)

    def make_line(node: Node, channel: str, on_moved: Callable[[int], None]) -> ShardLine:
        return ShardLine(
            node.client,
            dial(node.address),
            probe=channel,
            timeout=redis.timeout,
            probe_timeout=redis.probe_timeout,
            awake=awake,
            on_moved=on_moved,
            on_reconnect=metrics.redis_reconnects.inc,
        )

    replication = ShardReplication(cluster, metrics, needed=redis.replicas, clock=clock)
    refusals = ShardRefusals(cluster, keys)
    lines = ClusterLines(
        cluster,
        make_line,
        lambda node: keys.node_probe(node.tag, probe),
        replication,
        refusals.of,
        all_needed=redis.shards_needed == "all",
        timeout=redis.timeout,
        awake=awake,
    )

    def look_after() -> None:
        cluster.look_after()
        replication.ask()

    registrations = [Registration(cluster, group, lease, settings) for group in keys.lease_groups]

    def make_leases(addresses: RedisAddresses | None, outboxes: RedisOutboxes | None) -> Leases:
        groups = []
        for group, registration in zip(keys.lease_groups, registrations, strict=True):
            own = addresses if addresses is not None and addresses.group is group else None
            groups.append(
                RedisLeases(cluster, group, lease, settings, registration, own, outboxes, look_after=lambda: None)
            )
        return GroupedLeases(groups, lease, refusals, patience=settings.lease.interval / 2, look_after=look_after)

    grouped = GroupedRegistration(cluster, keys, lease, registrations)
    durability = ClusterDurability(
        cluster,
        lambda node: replicas_of(redis, dial(node.address), node.run, metrics, awake),
        metrics.unconfirmed.inc,
    )
    return RedisParts(cluster, keys, lines, grouped, make_leases, durability if redis.replicas else None, cluster)


def cluster_client(
    settings: BackendSettings,
    redis: RedisSettings,
    keys: ClusterKeys,
    metrics: Metrics,
    dial: Dial,
    *,
    on_new_run: Callable[[], object] = lambda: None,
    awake: AwakeTime | None = None,
) -> ClusterClient:
    """Make the client for the cluster of a URL."""
    awake = awake or AwakeTime()
    url = parse_redis_url(redis.url)
    if url is None or not url.nodes:
        raise ValueError("the URL names no cluster")
    addresses = AddressMap(redis.mapped, is_encrypted=url.is_encrypted)
    headroom = ClusterHeadroom(settings.memory_share, metrics.memory_share.set)

    def make_node(address: Address, on_lost: Callable[[], None]) -> Node:
        run = RedisRun(keys, ttl=settings.rooms.state_ttl, on_change=on_new_run, node=shown(address))
        client = RedisClient(
            dial(address),
            timeout=redis.timeout,
            waiting=redis.queue,
            on_reconnect=metrics.redis_reconnects.inc,
            on_error=metrics.redis_errors.inc,
            run=run,
            headroom=headroom.of(address),
            clustered=True,
            on_lost=on_lost,
            awake=awake,
        )
        return Node(address, client, run, RedisMemory(client, keys.workers))

    cluster = ClusterClient(
        make_node,
        TopologySearch(url.nodes, addresses, dial),
        addresses.reach,
        keys,
        timeout=redis.timeout,
        waiting=redis.queue,
        headroom=headroom,
        on_error=metrics.redis_errors.inc,
        on_given_up=headroom.forget,
        on_failover=metrics.redis_failovers.inc,
        awake=awake,
    )
    headroom.headroom_at = lambda room: cluster.at_room(room).headroom
    return cluster


def dialing(redis: RedisSettings, name: str) -> Dial:
    """Make the function that dials the nodes of a cluster; `name` is that of the worker."""
    lookups = Lookups()

    def dial(address: Address) -> Dialer:
        return Dialer(
            redis.url,
            password=redis.password,
            timeout=min(redis.timeout, DIAL_TIMEOUT),
            name=f"relay-{name}",
            address=address,
            lookups=lookups,
        )

    return dial
