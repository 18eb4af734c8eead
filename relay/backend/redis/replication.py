"""The replicas of Redis: their number, and how far they are behind, for health and metrics."""

import math
import re
from dataclasses import dataclass
from typing import Any, Final

from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer, pack
from relay.limits import Clock
from relay.metrics import Metrics

INTERVAL: Final = 2.0
"""Seconds between two questions: they are for operators, and heartbeats come four times as often."""

_REPLICA: Final = re.compile(r"^slave\d+:(?=.*\bstate=online\b).*\boffset=(\d{1,20}),lag=(\d{1,10})", re.MULTILINE)
_OFFSET: Final = re.compile(r"^master_repl_offset:(\d{1,20})", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Replication:
    """How many replicas of a master are online, and how far the last one is behind it."""

    replicas: int
    seconds: int
    bytes: int

    @classmethod
    def read(cls, text: str) -> "Replication | None":
        """Read the section of INFO about replication; None if it is not about a master."""
        written = _OFFSET.search(text)
        if written is None or "role:master" not in text:
            return None
        found = [(int(offset), int(lag)) for offset, lag in _REPLICA.findall(text)]
        behind = max((int(written[1]) - offset for offset, _ in found), default=0)
        return cls(len(found), max((lag for _, lag in found), default=0), max(0, behind))


class RedisReplication:
    """Asks Redis from time to time; `needed` is how many replicas must have a message (the setting `durability`).

    A server that does not tell, or a user without the right to INFO, leaves the state unknown.
    """

    def __init__(self, client: RedisClient, dialer: Dialer, metrics: Metrics, *, needed: int, clock: Clock) -> None:
        self._client = client
        self._dialer = dialer
        self._metrics = metrics
        self._needed = needed
        self._clock = clock
        self._due = 0.0
        self._found: Replication | None = None

    @property
    def is_known(self) -> bool:
        """Whether there is anything to say: replicas, or sentinels, or messages that need replicas."""
        return bool(self._needed or self._dialer.master or (self._found and self._found.replicas))

    @property
    def suffices(self) -> bool:
        """Whether there are as many replicas as messages need."""
        return not self._needed or (self._found is not None and self._found.replicas >= self._needed)

    @property
    def text(self) -> str:
        """The state in words, for operators, with the sentinels that name another master."""
        return "; ".join(filter(None, (self._text, self._dialer.dissent)))

    @property
    def _text(self) -> str:
        master = f"master {self._dialer.master}" if self._dialer.master else "the master"
        age = self._age
        since = "" if math.isnan(age) else f" for {age:.0f} s"
        if self._found is None:
            return f"{master}{since}; its replicas are not known"
        needs = f", and messages need {self._needed} (durability)" if self._needed else ""
        if not self._found.replicas:
            return f"{master}{since}; no replica is online{needs}"
        lag = f"the last one is {self._found.seconds} s and {self._found.bytes} bytes behind"
        return f"{master}{since}; replicas online: {self._found.replicas}{needs}; {lag}"

    @property
    def _age(self) -> float:
        """For how many seconds the fleet has known the present run of Redis; NaN if it knows no other one."""
        return (self._client.clock.now - self._client.era / 1000) / 1000 if self._client.era else math.nan

    def ask(self) -> None:
        """Ask, at most once in two seconds."""
        if self._clock() >= self._due and self._client.reachable:
            self._due = self._clock() + INTERVAL
            self._client.send(pack("INFO", "replication"), self._answered)

    def _answered(self, reply: Any) -> None:
        # An error leaves the state unknown; the heartbeat fails as well, or the next question gets an answer.
        self._found = found = Replication.read(reply.decode("latin-1")) if isinstance(reply, bytes) else None
        gauges = self._metrics
        gauges.redis_replicas.set(math.nan if found is None else found.replicas)
        lags = found is not None and found.replicas
        gauges.redis_replica_lag.set(found.seconds if found and lags else math.nan)
        gauges.redis_replica_bytes.set(found.bytes if found and lags else math.nan)
        gauges.redis_master_age.set(self._age)
