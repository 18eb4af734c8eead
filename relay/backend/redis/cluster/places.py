"""Where the masters of a cluster are: a node keeps its address while its connection works, whatever others name."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from relay.backend.redis.cluster.topology import Shard, Topology
from relay.backend.redis.replies import shown
from relay.config.redis_url import Address
from relay.limits import Clock

log = logging.getLogger("relay.backend.redis")

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
"""Seconds between two moves of a node that is not reached: they double with each move, until it is reached."""

_DEAF: Final = 5.0
"""Seconds for which a node keeps its address although only commands reach it, and its messages do not come."""

_MOST_LOGGED: Final = 20
"""Other addresses of a node that are logged."""


class State(NamedTuple):
    """Whether commands reach a node, and whether its subscriptions do."""

    reachable: bool
    hears: bool


@dataclass(slots=True)
class _Place:
    """The address of a node, when it moved there, when it worked there last, and the pause until it may move again."""

    address: Address
    moved: float
    worked: float
    pause: float = _FIRST_PAUSE
    logged: set[Address] = field(default_factory=set)


class NodePlaces:
    """Knows each master by its node id, and gives each topology the addresses at which this worker uses the masters.

    Nodes may name different addresses for one node: by `cluster-announce-ip`, by host names, or by the host that was
    asked. If each answer moved the connections, they would go to and fro. `state_of` tells how well an address works.
    """

    def __init__(self, state_of: Callable[[Address], State], clock: Clock = time.monotonic) -> None:
        self._state_of = state_of
        self._clock = clock
        self._places: dict[str, _Place] = {}
        # The other addresses that the nodes name, each with the one that is used.
        self._aliases: dict[Address, Address] = {}

    def of(self, address: Address) -> Address:
        """Return the address that is used for a node that others name by this one."""
        return self._aliases.get(address, address)

    def settle(self, topology: Topology) -> Topology:
        """Return the topology with the addresses that are used."""
        taken = {*topology.nodes, *(shard.address for shard in topology.shards)}
        # Those of dead masters are needed until others have their slots.
        lost = {address: self.of(address) for address in topology.lost}
        self._aliases = {other: used for other, used in lost.items() if other != used and other not in taken}
        shards = tuple(self._settled(shard, taken) for shard in topology.shards)
        nodes, dead = {shard.node for shard in shards}, set(lost.values())
        self._places = {node: place for node, place in self._places.items() if node in nodes or place.address in dead}
        return replace(topology, shards=shards, lost=tuple(lost.values()))

    def _settled(self, shard: Shard, taken: set[Address]) -> Shard:
        if not shard.node:
            return shard
        place, now = self._places.get(shard.node), self._clock()
        if place is None:
            self._places[shard.node] = _Place(shard.address, now, now)
            return shard
        keeps = self._keeps(place, now)
        if shard.address == place.address:
            return shard
        # An address at which the nodes name another one is not that of this node any more.
        if keeps and place.address not in taken:
            self._aliases[shard.address] = place.address
            self._note_kept(shard.address, place)
            return replace(shard, address=place.address)
        log.warning("a node of the Redis cluster has another address: %s, before %s",
                    shown(shard.address), shown(place.address))  # fmt: skip
        place.address, place.moved, place.worked = shard.address, now, now
        place.pause = min(2 * place.pause, _LONGEST_PAUSE)
        return shard

    def _note_kept(self, other: Address, place: _Place) -> None:
        if other not in place.logged and len(place.logged) < _MOST_LOGGED and self._state_of(place.address).reachable:
            place.logged.add(other)
            log.warning(
                "the Redis cluster names another address for the node at %s, which answers there: %s; this worker goes "
                "there when the connection is lost", shown(place.address), shown(other),
            )  # fmt: skip

    def _keeps(self, place: _Place, now: float) -> bool:
        """Whether a node stays where it is: it works there, or has moved there a moment ago."""
        state = self._state_of(place.address)
        if state.reachable and state.hears:
            place.worked, place.pause = now, _FIRST_PAUSE
        works = state.reachable and now - place.worked < _DEAF
        return works or now - place.moved < place.pause
