"""Every metric of a worker, declared once; docs/metrics.md is made from these declarations.

Names and units follow the Prometheus conventions. No label has a value that a client chooses, so that no client can
make the number of series grow.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from types import MappingProxyType
from typing import Final, NamedTuple, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as MetricFamily
from prometheus_client.registry import Collector

from relay.model.errors import CLOSE_REASONS, ERRORS
from relay.model.events import Loss
from relay.protocol_metrics import ProtocolMetrics
from relay.webhooks.posted import POST_OUTCOMES

_LATENCY: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
"""Upper bounds of the buckets, in seconds."""

API: Final = "api"
"""The protocol of requests to the relay's own HTTP interface, in the metric of errors; no gateway has this name."""


WIRE_LIMITS: Final = (
    "head", "framing", "pipeline", "unread_body", "idle_connections", "http_connections", "descriptors", "small_frames",
    "unfinished", "unfinished_closed",
)  # fmt: skip
"""The limits of `relay.wire.notices`."""


TOKEN_CODES: Final = ("token_required", "bad_token", "token_expired", "token_not_yet_valid", "keys_unavailable")
"""The error codes of refused tokens."""


class Declaration(NamedTuple):
    """A metric in words: its help text, and advice for the operator."""

    name: str
    kind: str
    help: str
    advice: str
    labels: tuple[str, ...] = ()


class Latency(Collector):
    """A histogram of seconds for the hot path: used by one thread and without labels, so it needs no locks."""

    def __init__(self, name: str, text: str, bounds: Sequence[float], registry: CollectorRegistry) -> None:
        self._name = name
        self._text = text
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def collect(self) -> Iterator[MetricFamily]:
        """Yield the histogram, with cumulative buckets as the text format has them."""
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._text, buckets=buckets, sum_value=self._sum)


class _ProtocolCollector(Collector):
    """Metrics with the label `protocol`, one for each declaration; a declaration's key is an attribute's name."""

    def __init__(
        self,
        declarations: Mapping[str, Declaration],
        protocols: Mapping[str, ProtocolMetrics],
        registry: CollectorRegistry,
    ) -> None:
        self._declarations = declarations
        self._protocols = protocols
        registry.register(self)

    def collect(self) -> Iterator[MetricFamily]:
        """Yield every metric, with a sample for each protocol."""
        for attribute, declared in self._declarations.items():
            kind = GaugeMetricFamily if declared.kind == "gauge" else CounterMetricFamily
            family = kind(declared.name, declared.help, labels=declared.labels)
            for protocol, metrics in self._protocols.items():
                family.add_metric([protocol], getattr(metrics, attribute))
            yield family


class _Declarer:
    """Makes metrics in one registry, and keeps a list of them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.declarations: list[Declaration] = []

    def gauge(self, name: str, text: str, advice: str) -> Gauge:
        self._record(name, "gauge", text, advice)
        return Gauge(name, text, registry=self._registry)

    def counter(self, name: str, text: str, advice: str) -> Counter:
        self._record(name, "counter", text, advice)
        return Counter(name, text, registry=self._registry)

    def counters(
        self, name: str, text: str, advice: str, *, labels: tuple[str, ...], values: Iterable[tuple[str, ...]]
    ) -> Counter:
        """Make a counter with labels, and a series at 0 for each of their known values.

        A series that began at 1 would be no increase for Prometheus, and no alert would see the first event.
        """
        self._record(name, "counter", text, advice, labels)
        counter = Counter(name, text, labels, registry=self._registry)
        for known in values:
            counter.labels(*known)  # makes the series
        return counter

    def latency(self, name: str, text: str, advice: str) -> Latency:
        self._record(name, "histogram", text, advice)
        return Latency(name, text, _LATENCY, self._registry)

    def by_protocol(self, protocols: Mapping[str, ProtocolMetrics], **declared: tuple[str, str, str]) -> None:
        """Make a metric for each attribute of `ProtocolMetrics`: its name, which says the kind, its help and advice."""
        found = {
            attribute: self._record(
                name, "counter" if name.endswith("_total") else "gauge", text, advice, ("protocol",)
            )
            for attribute, (name, text, advice) in declared.items()
        }
        _ProtocolCollector(found, protocols, self._registry)

    def _record(self, name: str, kind: str, text: str, advice: str, labels: tuple[str, ...] = ()) -> Declaration:
        self.declarations.append(Declaration(name, kind, text, advice, labels))
        return self.declarations[-1]


class Metrics:
    """One worker's metrics, in a registry of its own, together with those of its process (`process_*`).

    `protocols` are the names of the protocols that clients speak, each with the error codes that they may get: their
    series begin at 0.
    """

    def __init__(self, protocols: Mapping[str, Iterable[str]] = MappingProxyType({})) -> None:
        self.registry = CollectorRegistry()
        # Linux only; elsewhere the collector yields nothing.
        ProcessCollector(registry=self.registry)
        declare = _Declarer(self.registry)
        self._protocols: dict[str, ProtocolMetrics] = {}
        self.declarations: Sequence[Declaration] = declare.declarations
        self._declare_clients(declare)
        self._declare_rooms(declare)
        self._declare_errors(declare, protocols)
        self._declare_messages(declare)
        self._declare_turn(declare)
        self._declare_backend(declare)
        self._declare_forwarding(declare)
        self._declare_webhook(declare)
        self._declare_workers(declare)
        for protocol in protocols:
            self.of(protocol)

    def of(self, protocol: str) -> ProtocolMetrics:
        """Return the metrics of one protocol, by the name that its gateway declares."""
        found = self._protocols.get(protocol)
        if found is None:
            found = self._protocols[protocol] = ProtocolMetrics(protocol, errors=self.errors, closed=self.closed)
        return found

    def _declare_clients(self, declare: _Declarer) -> None:
        declare.by_protocol(
            self._protocols,
            connections=(
                "relay_connections",
                "Open connections: WebSockets and HTTP sessions.",
                "Add a worker before the sum comes near relay_connection_limit.",
            ),
            sessions=(
                "relay_sessions",
                "Open sessions; a connection has one, or several if its protocol shares a connection among rooms.",
                "For information.",
            ),
            handshakes=(
                "relay_handshakes_total",
                "Accepted handshakes of WebSockets and HTTP sessions.",
                "A steep rise follows the loss of a worker or load balancer. A lasting one means that clients "
                "reconnect repeatedly: see relay_closed_connections_total.",
            ),
            delays=(
                "relay_delayed_reads_total",
                "Times that the relay stopped reading from a client above message-rate, byte-rate or "
                "address-byte-rate.",
                "For information: nothing is lost. If relay_errors_total has too_fast as well, raise these settings, "
                "or find the client that floods.",
            ),
        )
        self.connection_limit = declare.gauge(
            "relay_connection_limit",
            "Connections that this worker accepts (setting max-connections).",
            "If it is lower than the setting, raise the limit of open files (ulimit -n).",
        )
        self.buffered = declare.gauge(
            "relay_buffered_bytes",
            "Bytes that wait for clients which do not read, and of requests that are not complete.",
            "If it stays near worker-buffer, find the addresses in the log.",
        )
        self.dropped_buffers = declare.counters(
            "relay_dropped_buffers_total",
            "Connections and requests closed because too many bytes waited in them, by the bound: address or worker.",
            "One address: an attack, or many slow clients behind it; raise address-buffer for those. worker: an attack "
            "from several addresses, or not enough memory; raise worker-buffer, or add a worker.",
            labels=("scope",),
            values=[("address",), ("worker",)],
        )
        self.closed = declare.counters(
            "relay_closed_connections_total",
            "Connections that ended, by close reason.",
            "Look the reason up in errors.md; internal is a defect of the relay, and its log has the cause.",
            labels=("reason",),
            values=[(reason.name,) for reason in CLOSE_REASONS],
        )

        self.wire_limits = declare.counters(
            "relay_wire_limits_total",
            "Times that a limit on incoming bytes acted, by limit; the relay paused reading from a connection, refused "
            "a request or closed a connection.",
            "A client that attacks, or does not work: the log names its address once a minute. descriptors: raise the "
            "limit of open files (ulimit -n). unfinished: raise address-unfinished-bytes if many clients share one "
            "address. idle_connections and http_connections: raise http-connections-per-address, or name the load "
            "balancer in trusted-proxies.",
            labels=("limit",),
            values=zip(WIRE_LIMITS, strict=True),
        )

    def _declare_rooms(self, declare: _Declarer) -> None:
        self.rooms = declare.gauge(
            "relay_rooms",
            "Rooms with members or observers on this worker.",
            "For information; each room is a subscription in Redis.",
        )
        self.members = declare.gauge(
            "relay_members",
            "Members on this worker; a connection counts once for each of its rooms.",
            "For information.",
        )
        self.observers = declare.gauge(
            "relay_observers",
            "Observers on this worker: they watch a room without being members.",
            "For information; each is a connection, too. The setting observers-per-room bounds those of one room.",
        )
        self.held = declare.gauge(
            "relay_held_members",
            "Members on this worker that lost their connection and are held for the grace time.",
            "It rises with an outage and falls within reconnect-grace. If it does not, look for errors in the log.",
        )
        self.resumes = declare.counters(
            "relay_resumes_total",
            "Members that reconnected with the id of the last message they saw, by outcome.",
            "If trimmed is frequent, raise history-size, history-bytes or history-ttl.",
            labels=("outcome",),
            values=[("recovered",), *((loss,) for loss in get_args(Loss) if loss)],
        )

        self.unawaited_places = declare.counters(
            "relay_unawaited_places_total",
            "Clients that came back by a cookie alone, and took a new place as too many others waited for theirs, by "
            "bound: address or worker.",
            "After the loss of a worker: raise the setting that the log names, or name the peer in the addresses of "
            "pages, so that none waits. At other times: an attack; the log names an address a minute.",
            labels=("scope",),
            values=[("address",), ("worker",)],
        )

    def _declare_errors(self, declare: _Declarer, protocols: Mapping[str, Iterable[str]]) -> None:
        codes = {API: ERRORS, **protocols}
        self.errors = declare.counters(
            "relay_errors_total",
            "Requests, frames and commands that the relay refused, by protocol and error code. The protocol of the "
            f"relay's own HTTP interface is {API}.",
            "Look the code up in errors.md; internal is a defect of the relay, and its log has the cause.",
            labels=("protocol", "code"),
            values=[(protocol, code) for protocol, known in codes.items() for code in known],
        )
        self.refused_tokens = declare.counters(
            "relay_refused_tokens_total",
            "Tokens of clients that the relay refused, by error code; token_required counts clients without one.",
            "bad_token: compare the issuer's key, audience and issuer with the settings auth-*; many from one address, "
            "which the log names, are guesses. token_expired: clients do not renew their token. keys_unavailable: the "
            "log says why auth-jwks cannot be fetched.",
            labels=("code",),
            values=zip(TOKEN_CODES, strict=True),
        )
        self.key_fetches = declare.counters(
            "relay_key_fetches_total",
            "Key sets (auth-jwks) that this worker fetched, failed to fetch, or took from another worker (shared).",
            "failed: the log has the reason; tokens are proven with the last good key set meanwhile.",
            labels=("outcome",),
            values=[("fetched",), ("failed",), ("shared",)],
        )

    def _declare_turn(self, declare: _Declarer) -> None:
        self.turn_credentials = declare.counters(
            "relay_turn_credentials_total",
            "TURN credentials that were made, by the way to their client: welcome, renewal or http.",
            "For information. The load of the TURN servers is in their own metrics.",
            labels=("way",),
            values=[("welcome",), ("renewal",), ("http",)],
        )

    def _declare_messages(self, declare: _Declarer) -> None:
        load = "For information; the load of this worker."
        declare.by_protocol(
            self._protocols,
            messages_in=("relay_received_messages_total", "Messages from clients.", load),
            bytes_in=("relay_received_bytes_total", "Bytes of messages from clients.", "For information."),
            messages_out=("relay_sent_messages_total", "Messages to clients.", load),
            bytes_out=("relay_sent_bytes_total", "Bytes of messages to clients.", "For information."),
        )
        self.publish_seconds = declare.latency(
            "relay_publish_duration_seconds",
            "Time from the arrival of a message to its id from Redis, of one message in sixteen.",
            "If it rises and relay_event_loop_lag_seconds does not, look at Redis and at the network to it.",
        )
        self.delivery_seconds = declare.latency(
            "relay_delivery_duration_seconds",
            "Time from the arrival of a message to its delivery on the same worker, of one message in sixteen.",
            "As relay_publish_duration_seconds.",
        )

    def _declare_backend(self, declare: _Declarer) -> None:
        self.probe_age = declare.gauge(
            "relay_bus_probe_age_seconds",
            "Time since a probe of this worker last came back through its own subscription in Redis.",
            "Beyond probe-timeout the worker is not ready: check Redis, and the network between it and this worker.",
        )
        self.deaf_shards = declare.gauge(
            "relay_redis_deaf_shards",
            "Shards of a Redis Cluster over which this worker does not hear its own probes, or which refuse its "
            "commands; 1 while none is known, NaN without a cluster.",
            "The rooms of these shards stand still: /health names them, with the reason; bring their masters back, or "
            "have them take writes again.",
        )
        self.memory_share = declare.gauge(
            "relay_memory_used_ratio",
            "Share of the memory for rooms that is used: of Redis's maxmemory, or of history-memory without Redis.",
            "From memory-share on, new rooms are refused: raise maxmemory, or find its users. NaN: no known limit.",
        )
        self.unstored = declare.counter(
            "relay_unstored_messages_total",
            "Messages that were delivered without being stored for clients that reconnect.",
            "address-history-bytes was used up by one address, or memory is short (relay_memory_used_ratio).",
        )
        self.redis_errors = declare.counter(
            "relay_redis_errors_total",
            "Error replies of Redis.",
            "The log has their text. OOM: give Redis more memory; other errors: check its version, rights and keys.",
        )
        self.redis_reconnects = declare.counter(
            "relay_redis_reconnects_total",
            "Connections to Redis that were opened again after a failure.",
            "If it keeps rising, Redis or the network to it is unstable; the log has the reason of each.",
        )
        self.redis_run_changes = declare.counter(
            "relay_redis_run_changes_total",
            "Times at which this worker met another run of Redis: it was restarted, or a replica took its part.",
            "Rooms whose data may be older begin a new epoch: relay_message_losses_total has their losses.",
        )
        self.redis_failovers = declare.counter(
            "relay_redis_failovers_total",
            "Times at which the sentinels named another master to this worker, or a cluster had a new one.",
            "After a failover, see why the old master failed, and whether it is a replica again.",
        )
        self.redis_replicas = declare.gauge(
            "relay_redis_replicas",
            "Replicas of Redis that are online; in a cluster, of the master with fewest. NaN: not known.",
            "With fewer than durability needs, no message is acknowledged; with none, a failover is not possible.",
        )
        self.redis_replica_lag = declare.gauge(
            "relay_redis_replica_lag_seconds",
            "Seconds since Redis last heard of the replica that is furthest behind. NaN: no replica, or not known.",
            "Above a few seconds, a failover loses as much: check the replica, and the network between the two.",
        )
        self.redis_replica_bytes = declare.gauge(
            "relay_redis_replica_lag_bytes",
            "Bytes of its master's writes that the replica lacks which is furthest behind.",
            "For information: it should return to nearly 0 all the time.",
        )
        self.redis_master_age = declare.gauge(
            "relay_redis_master_age_seconds",
            "Seconds since the fleet met the present run of Redis. NaN: it has met no other one, or it is a cluster.",
            "For information: when the last failover or restart was.",
        )
        self.unconfirmed = declare.counter(
            "relay_unconfirmed_messages_total",
            "Messages that Redis has taken, and that too few of its replicas have confirmed in time (durability).",
            "Their senders get outcome_unknown: check the replicas, and the network between them and their master.",
        )
        self.room_gaps = declare.counter(
            "relay_room_gaps_total",
            "Rooms in which this worker may have missed events, because a subscription broke.",
            "For information: the worker reads the missing events from the history.",
        )
        self.foreign_epochs = declare.counter(
            "relay_foreign_epochs_total",
            "Epochs of another fleet whose events arrived in a room of this worker, and were ignored.",
            "Give each fleet a redis-prefix of its own, and all fleets in one Redis this version; see the log.",
        )
        self.fan_out_waits = declare.counter(
            "relay_fan_out_waits_total",
            "Messages after which their sender had to wait, as their room was above room-delivery-rate.",
            "Normal for short bursts in large rooms; if it grows all the time, find out who floods the room, or raise "
            "room-delivery-rate.",
        )
        self.rule_changes = declare.counter(
            "relay_rule_changes_total",
            "Changes of the rules of rooms by clients and over HTTP.",
            "For information.",
        )
        self.kicks = declare.counter(
            "relay_kicks_total",
            "Members that were put out of a room, also those of rooms that were closed.",
            "For information; if it grows without an operator's doing, see which tokens grant kick and close.",
        )
        self.passwords = declare.counters(
            "relay_room_passwords_total",
            "Passwords of rooms that clients offered: right, wrong, or unseen, after too many wrong ones.",
            "Many wrong ones mean that somebody guesses: the log has an address, and a longer password helps.",
            labels=("outcome",),
            values=[("right",), ("wrong",), ("unseen",)],
        )
        self.replay_waits = declare.counter(
            "relay_replay_waits_total",
            "Members that came back and had to wait, as their address was above address-replay-rate.",
            "Normal after a worker with many clients of one address has stopped; else an address resumes all the time.",
        )
        self.presence_delays = declare.counter(
            "relay_presence_delays_total",
            "Batches of joins, leaves and new infos that were gathered for longer, as the watchers of their room are "
            "sent no more than room-presence-rate.",
            "Normal while many clients of a large room come and go; raise room-presence-rate to show changes sooner.",
        )
        self.gap_recoveries = declare.counter(
            "relay_gap_recoveries_total",
            "Rooms whose missing events this worker read from the history.",
            "For information: nothing was lost there.",
        )
        self.message_losses = declare.counters(
            "relay_message_losses_total",
            "Losses of messages in a room that this worker reported to the members, by reason.",
            "trimmed: raise history-size, history-bytes or history-ttl; epoch: Redis lost its data, see its log; "
            "too_much: raise send-buffer; internal is a defect of the relay.",
            labels=("reason",),
            values=[(loss,) for loss in get_args(Loss) if loss],
        )
        self.room_ttl_renewals = declare.counter(
            "relay_room_ttl_renewals_total",
            "Rooms whose time to live in Redis this worker renewed.",
            "It rises each half of room-state-ttl while the worker has members; if it does not, see the log.",
        )

    def _declare_forwarding(self, declare: _Declarer) -> None:
        self.forwarded = declare.counters(
            "relay_forwarded_requests_total",
            "Requests for a session of another worker, by outcome; answered ones were forwarded to it.",
            "gone follows the end of a worker; its clients begin new sessions. If unreachable or cut rises, check the "
            "network between the workers. forbidden: Redis has an address outside forward-networks. bad_id: a client "
            "made the session id up, or the workers have different fleet keys.",
            labels=("outcome",),
            values=zip(("answered", "dropped", "gone", "unreachable", "cut", "forbidden", "bad_id"), strict=True),
        )
        self.forward_refusals = declare.counters(
            "relay_forward_refusals_total",
            "Requests on the port for other workers that were refused, by reason.",
            "stranger, unsigned, malformed: another program reaches this port. bad_mac: fleet keys differ, or a "
            "program attacks. expired, replayed: a request took more than 30 s, or a program sent it again. "
            "misdirected follows the end of a worker whose address this one has now.",
            labels=("reason",),
            values=zip(
                ("stranger", "unsigned", "malformed", "expired", "bad_mac", "misdirected", "replayed", "too_large",
                 "bad_body"),
                strict=True,
            ),
        )  # fmt: skip

    def _declare_webhook(self, declare: _Declarer) -> None:
        self.webhook_requests = declare.counters(
            "relay_webhook_requests_total",
            "Requests to the receiver of the webhook, by outcome; accepted ones were answered with a status from 200 "
            "to 299.",
            "refused, timeout, unreachable: check the receiver; the log has the cause once a minute. Nothing is lost "
            "while relay_webhook_queued_events is below webhook-queue.",
            labels=("outcome",),
            values=zip(POST_OUTCOMES, strict=True),
        )
        self.webhook_events = declare.counter(
            "relay_webhook_events_total", "Events that the receiver of the webhook has accepted.", "For information."
        )
        self.webhook_dropped = declare.counter(
            "relay_webhook_dropped_events_total",
            "Events for the webhook that this worker dropped, as the queue was full.",
            "The receiver was away or too slow, and is told their number: let it compare its state with /rooms. Raise "
            "webhook-queue, if Redis has the memory.",
        )
        self.webhook_queue = declare.gauge(
            "relay_webhook_queued_events",
            "Events that wait for the receiver of the webhook; 0 on workers that do not send at the moment.",
            "If it grows, the receiver is away or too slow: see relay_webhook_requests_total. At webhook-queue, the "
            "oldest events are dropped.",
        )
        self.webhook_age = declare.gauge(
            "relay_webhook_oldest_event_age_seconds",
            "Age of the event that waits for the longest time; 0 on workers that do not send at the moment.",
            "As relay_webhook_queued_events.",
        )

    def _declare_workers(self, declare: _Declarer) -> None:
        self.ready = declare.gauge(
            "relay_ready",
            "Whether this worker is ready for clients (1) or not (0).",
            "If it is 0, GET /health of the worker names the check that failed.",
        )
        self.lease_lapses = declare.counter(
            "relay_lease_lapses_total",
            "Times that the lease of this worker expired before the worker renewed it.",
            "The worker was blocked or cut off from Redis for longer than worker-lease: check CPU and network.",
        )
        self.redis_losses = declare.counters(
            "relay_redis_losses_total",
            "Times that Redis had lost this worker's lease or its set of rooms (lost), or was another process or older "
            "than the data that this worker wrote (older).",
            "One after a restart or a failover of Redis is normal; more mean that Redis loses keys (maxmemory-policy "
            "must be noeviction).",
            labels=("reason",),
            values=[("lost",), ("older",)],
        )
        self.noted_positions = declare.counter(
            "relay_noted_positions_total",
            "Delivered positions of members that this worker noted in Redis, for protocols without a cursor.",
            "For information: at most one a second for each such member.",
        )
        self.fleet_key_changes = declare.counter(
            "relay_fleet_key_changes_total",
            "Times that this worker changed to an older fleet key that another worker had.",
            "One after Redis lost its data is normal; more mean that Redis loses keys (maxmemory-policy must be "
            "noeviction), or that two fleets share a redis-prefix by mistake.",
        )
        self.dead_workers = declare.counter(
            "relay_dead_workers_total",
            "Workers with an expired lease that this worker found.",
            "A worker was killed or blocked: look for the end of its log, and for the out-of-memory killer.",
        )
        self.adopted = declare.counter(
            "relay_adopted_members_total",
            "Members that this worker took over from workers that died, or stopped before the members returned.",
            "For information: it follows relay_dead_workers_total and restarts.",
        )
        self.tasks = declare.gauge(
            "relay_event_loop_tasks",
            "Tasks of the event loop.",
            "It does not depend on the number of connections; a steady rise is a defect of the relay.",
        )
        self.loop_lag = declare.latency(
            "relay_event_loop_lag_seconds",
            "Delay with which a timer of the event loop fires.",
            "If the 99th percentile stays above 0.1 s, the CPU core is saturated: add a worker.",
        )
