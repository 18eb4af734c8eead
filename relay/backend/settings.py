"""The settings of a backend, in the parts in which its modules take them. Times are in seconds."""

from dataclasses import dataclass, field
from typing import Final

from relay.config.redis_url import parse_redis_url

_LEAST_LARGE: Final = 1024


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


@dataclass(frozen=True, slots=True)
class RoomSettings:
    """The bounds of a room, and how long Redis remembers one that no worker renews.

    `members` is the most members of a room, `roster` the most that a roster names unless its reader asks for more or
    fewer, and `roster_bytes` the most bytes of the names and infos in it. `state_ttl` is the time to live of its
    presence entries, its epoch and its counter.
    """

    members: int = 10_000
    roster: int = 100
    roster_bytes: int = 262_144
    state_ttl: float = 3600.0
    history: HistorySettings = field(default_factory=HistorySettings)


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """A worker's lease lasts `duration` and is renewed every `interval`.

    A connected member of a dead worker is held for `grace`, counted from when that worker was last alive for certain.
    """

    duration: float = 10.0
    interval: float = 0.5
    grace: float = 15.0


@dataclass(frozen=True, slots=True)
class ForwardAddress:
    """The address (`IP:PORT`) at which other replicas reach the worker whose sessions name it as `owner`."""

    owner: str
    address: str


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """How a worker uses Redis.

    A command that gets no reply for `timeout` fails; at most `queue` commands wait while Redis is away. A worker whose
    own probe did not come back for `probe_timeout` is not ready. `password` is for a URL that has none.
    """

    url: str = field(repr=False)
    password: str = field(default="", repr=False)
    prefix: str = "relay"
    timeout: float = 5.0
    queue: int = 1000
    probe_timeout: float = 3.0

    @property
    def database(self) -> int:
        """The number of the database, which the URL names; raises ValueError for a URL that is not valid."""
        parsed = parse_redis_url(self.url)
        return parsed.database if parsed else 0


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """Everything that a backend has to know; without `redis`, it is a backend in memory.

    `forward` is registered for other replicas; None if this worker takes no requests that they forward.
    """

    rooms: RoomSettings = field(default_factory=RoomSettings)
    lease: LeaseSettings = field(default_factory=LeaseSettings)
    redis: RedisSettings | None = None
    forward: ForwardAddress | None = None
