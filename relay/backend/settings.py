"""The settings of a backend, in the parts in which its modules take them. Times are in seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from relay.config.redis_url import Address, parse_mapped_address, parse_redis_url

_LEAST_LARGE: Final = 1024

_LAST_TTL: Final = 10.0
"""Seconds in which a worker that was cut off from Redis for a moment reads the events that its observers missed."""


@dataclass(frozen=True, slots=True)
class HistorySettings:
    """How much of a room is remembered for clients that reconnect or send an envelope again.

    The history has at most `size` events (0: there is no history), for `ttl` seconds after the last one. Of messages
    that are `large`, it has at most `bytes` bytes, but always the newest one; the others need no more than that. One
    replay sends at most `replay_bytes` of envelopes. At most `repeat_keys` keys of published envelopes are remembered,
    also for `ttl` seconds.
    """

    size: int = 1000
    ttl: float = 120.0
    replay_bytes: int = 524_288
    repeat_keys: int = 10_000
    bytes: int = 4_194_304

    @property
    def large(self) -> int:
        """The bytes from which on a message counts as large: a history full of smaller ones is within its bytes."""
        return max(_LEAST_LARGE, self.bytes // max(1, self.size))

    @property
    def last_ttl(self) -> float:
        """For how many seconds a room has its history after its last member has left."""
        return min(self.ttl, _LAST_TTL)


@dataclass(frozen=True, slots=True)
class RoomSettings:
    """The bounds of a room, and how long Redis remembers one that no worker renews.

    `members` is the most members of a room, `places` the most of them from one address, `roster` the most that a roster
    names unless its reader asks for more or fewer, and `roster_bytes` the most bytes of the names and infos in it.
    `state_ttl` is the time to live of its presence entries, its epoch and its counter. The room's own rules outlive its
    last member by `rules_ttl` unless they say so themselves. With `owners`, its first member owns it.
    """

    members: int = 10_000
    places: int = 1000
    roster: int = 100
    roster_bytes: int = 262_144
    state_ttl: float = 3600.0
    rules_ttl: float = 3600.0
    owners: bool = False
    history: HistorySettings = field(default_factory=HistorySettings)

    @property
    def idle_ttl(self) -> float:
        """The time to live of the epoch and the counter of a room whose last member has left."""
        return min(self.state_ttl, self.history.ttl)


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """A worker's lease lasts `duration` and is renewed every `interval`.

    A connected member of a dead worker is held for `grace`, counted from when that worker was last alive for certain.
    """

    duration: float = 10.0
    interval: float = 0.5
    grace: float = 15.0


@dataclass(frozen=True, slots=True)
class WebhookQueueSettings:
    """The queue of the webhook has at most `events`, and as many KB of them.

    A sender that is not heard of for `claim` seconds is replaced.
    """

    events: int = 20_000
    claim: float = 5.0


@dataclass(frozen=True, slots=True)
class ForwardAddress:
    """The address (`IP:PORT`) at which other replicas reach the worker whose sessions name it as `owner`."""

    owner: str
    address: str


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """How a worker uses Redis.

    A command that gets no reply for `timeout` fails; at most `queue` commands wait while Redis is away. A worker whose
    own probe did not come back for `probe_timeout` is not ready. `password` is for a URL that has none. A message is
    acknowledged when so many `replicas` have it, too, within one more `timeout`. `addresses` are for sentinels and a
    cluster, and `shards_needed` is for a cluster, as the settings have them.
    """

    url: str = field(repr=False)
    password: str = field(default="", repr=False)
    prefix: str = "relay"
    timeout: float = 5.0
    queue: int = 1000
    probe_timeout: float = 3.0
    replicas: int = 0
    addresses: tuple[str, ...] = ()
    shards_needed: Literal["any", "all"] = "any"

    @property
    def is_cluster(self) -> bool:
        """Whether the URL names a cluster; raises ValueError for one that is not valid."""
        parsed = parse_redis_url(self.url)
        return parsed is not None and bool(parsed.nodes)

    @property
    def mapped(self) -> Mapping[Address, Address]:
        """The addresses at which workers reach those that sentinels or nodes name, where they are other ones."""
        return dict(map(parse_mapped_address, self.addresses))

    @property
    def database(self) -> int:
        """The number of the database, which the URL names; raises ValueError for a URL that is not valid."""
        parsed = parse_redis_url(self.url)
        return parsed.database if parsed else 0


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """Everything that a backend has to know; without `redis`, it is a backend in memory.

    `forward` is registered for other replicas; None if this worker takes no requests that they forward. `memory_share`
    is that of `Headroom`, and `history_memory` the most bytes of all histories of a backend in memory. `webhook` is
    None if no webhook is called.
    """

    rooms: RoomSettings = field(default_factory=RoomSettings)
    lease: LeaseSettings = field(default_factory=LeaseSettings)
    redis: RedisSettings | None = None
    forward: ForwardAddress | None = None
    memory_share: float = 0.8
    history_memory: int = 100_663_296
    webhook: WebhookQueueSettings | None = None
