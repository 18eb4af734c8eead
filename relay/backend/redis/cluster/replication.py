"""The replicas of a cluster's masters: their number, and how far they are behind, for health and metrics."""

import math
from functools import partial
from typing import Any

from relay.backend.redis.cluster.client import ClusterClient
from relay.backend.redis.connection import pack
from relay.backend.redis.replication import INTERVAL, Replication
from relay.backend.redis.replies import shown
from relay.config.redis_url import Address
from relay.limits import Clock
from relay.metrics import Metrics


class ShardReplication:
    """Asks the masters; `needed` is how many replicas must have a message (the setting `durability`).

    The metrics have the fewest replicas that a master has, and the furthest that a replica is behind. A master that
    does not tell leaves the state of its shard unknown.
    """

    def __init__(self, cluster: ClusterClient, metrics: Metrics, *, needed: int, clock: Clock) -> None:
        self._cluster = cluster
        self._metrics = metrics
        self._needed = needed
        self._clock = clock
        self._due = 0.0
        self._found: dict[Address, Replication | None] = {}
        # Masters that were not reached when they were to be asked last.
        self._away = set[Address]()

    @property
    def is_known(self) -> bool:
        """Whether there is anything to say: replicas, or messages that need some."""
        return bool(self._needed or any(found is not None and found.replicas for found in self._found.values()))

    @property
    def suffices(self) -> bool:
        """Whether each master has as many replicas as messages need."""
        return not self._needed or (bool(self._found) and not self._short)

    @property
    def text(self) -> str:
        """The state in words, for operators; the masters that have too few replicas are named."""
        known = [found for found in self._found.values() if found is not None]
        needs = f", and messages need {self._needed} (durability)" if self._needed else ""
        short = "".join(f"; {shown(address)} has {self._count(address)}" for address in self._short)
        if not known:
            return f"the replicas are not known{needs}{short}"
        fewest, seconds, behind = _worst(known)
        lag = f"the last one is {seconds} s and {behind} bytes behind"
        return f"masters: {len(self._found)}; replicas online of each: {fewest} or more{needs}; {lag}{short}"

    def ask(self) -> None:
        """Ask all masters that are reached, at most once in two seconds; a master that is new, or is back, at once."""
        nodes, known, now = self._cluster.nodes, self._found, self._clock()
        if is_due := now >= self._due:
            self._due = now + INTERVAL
        self._found = {address: known.get(address) for address, node in nodes.items() if node.shard is not None}
        for address in self._found:
            client = nodes[address].client
            if not client.reachable:
                self._away.add(address)
                self._found[address] = None
            elif is_due or address not in known or address in self._away:
                self._away.discard(address)
                client.send(pack("INFO", "replication"), partial(self._answered, address))
        self._away &= self._found.keys()
        self._note()

    @property
    def _short(self) -> list[Address]:
        return [address for address, found in self._found.items() if self._needed > (found.replicas if found else 0)]

    def _count(self, address: Address) -> str:
        found = self._found[address]
        return "an unknown number" if found is None else str(found.replicas) if found.replicas else "none"

    def _answered(self, address: Address, reply: Any) -> None:
        if address in self._found:
            self._found[address] = Replication.read(reply.decode("latin-1")) if isinstance(reply, bytes) else None
            self._note()

    def _note(self) -> None:
        known = [found for found in self._found.values() if found is not None]
        fewest, seconds, behind = _worst(known)
        lags = any(found.replicas for found in known)
        self._metrics.redis_replicas.set(fewest if known else math.nan)
        self._metrics.redis_replica_lag.set(seconds if lags else math.nan)
        self._metrics.redis_replica_bytes.set(behind if lags else math.nan)
        # Each master has a run of its own.
        self._metrics.redis_master_age.set(math.nan)


def _worst(known: list[Replication]) -> tuple[int, int, int]:
    """Return the fewest replicas, and the most seconds and bytes that one is behind."""
    return (
        min((found.replicas for found in known), default=0),
        max((found.seconds for found in known), default=0),
        max((found.bytes for found in known), default=0),
    )
