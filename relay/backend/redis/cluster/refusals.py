"""Refusals: which nodes of a cluster answer this worker, and do not accept its commands."""

import logging
from collections.abc import Iterable
from typing import Final

from relay.backend.redis.client import RedisClient
from relay.backend.redis.cluster.client import ClusterClient
from relay.backend.redis.cluster.keys import ClusterKeys
from relay.backend.redis.cluster.node import Node
from relay.backend.redis.cluster.slots import slot_of_key, slot_of_tag
from relay.backend.redis.replies import shown
from relay.config.redis_url import Address
from relay.model.errors import RelayError, Unavailable

log = logging.getLogger("relay.backend.redis")

Failure = tuple[RedisClient | None, RelayError]
"""The client of the node that a request went to, and the error."""

LEASES: Final = "leases"
RENEWAL: Final = "renewal"


class ShardRefusals:
    """Remembers the refusals of each node. A node that refuses concerns the rooms of its slots, and no others.

    Only a refusal counts, which has Redis's words: the lines find out by themselves that a node is away, or late. There
    are three sources: the heartbeats of the leases, the renewal of rooms, and run.lua, which each heartbeat calls at
    each node.
    """

    def __init__(self, cluster: ClusterClient, keys: ClusterKeys) -> None:
        self._cluster = cluster
        self._groups = [slot_of_key(group.workers) for group in keys.lease_groups]
        self._found: dict[str, dict[RedisClient, str]] = {}
        self._logged: dict[Address, Node] = {}

    def client_of_room(self, room: str) -> RedisClient | None:
        """Return the client of the node that has a room."""
        return self._cluster.client_of(slot_of_tag(room))

    def client_of_group(self, number: int) -> RedisClient | None:
        """Return the client of the node that has the leases of a group."""
        return self._cluster.client_of(self._groups[number])

    def note(self, source: str, failures: Iterable[Failure]) -> None:
        """Take the failures of the last round of a source; they replace those of the round before."""
        self._found[source] = {
            client: error.report
            for client, error in failures
            if client is not None and isinstance(error, Unavailable) and error.report and client.reachable
        }
        self._log()

    def of(self, node: Node) -> str:
        """Return why a node refuses this worker's commands, for operators; "" if it does not, or is away."""
        if not node.client.reachable:
            return ""
        found = (its[node.client] for its in self._found.values() if node.client in its)
        return node.run.refusal or next(found, "")

    def _log(self) -> None:
        """Log once that a node refuses, and once that it accepts commands again."""
        refusing = {address: node for address, node in self._cluster.nodes.items() if self.of(node)}
        for address, node in refusing.items():
            if address not in self._logged:
                log.error(
                    "shard %s refuses the commands of this worker (%s); clients cannot join its rooms, or send there, "
                    "until it accepts them; rooms of other shards go on", shown(address), self.of(node),
                )  # fmt: skip
        for address, node in self._logged.items():
            # One that is away now, or was given up, has not accepted anything.
            if address not in refusing and self._cluster.nodes.get(address) is node and node.client.reachable:
                log.warning("shard %s accepts the commands of this worker again", shown(address))
        self._logged = refusing
