"""The topology of a cluster: which master has which slots (`CLUSTER SHARDS`, `CLUSTER INFO`)."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Self

from relay.backend.redis.cluster.slots import SLOTS
from relay.config.redis_url import Address

_MOST_SHARDS: Final = 1000
_MOST_NODES: Final = 3000
"""Shards and nodes that are read of an answer; clusters have no more."""

NO_NAME: Final = "?"
"""The endpoint of a node that is to be named by its host name, and has none."""

_LIVING: Final = frozenset({b"online", b"loading"})


@dataclass(frozen=True, slots=True)
class Shard:
    """A master, and the first and last slot of each range that it has; `node` is its id, "" if the answer has none."""

    address: Address
    ranges: tuple[tuple[int, int], ...]
    node: str = ""

    @property
    def master(self) -> str | Address:
        """Its node id, which stays when its address changes; the address if an answer has no id."""
        return self.node or self.address

    def has(self, slot: int) -> bool:
        """Whether the slot is one of this master's."""
        return any(first <= slot <= last for first, last in self.ranges)


@dataclass(frozen=True, slots=True)
class Topology:
    """The shards of a cluster, and all nodes, as one node knows them; of two answers, a higher epoch is newer.

    While the cluster is `down`, its nodes refuse all commands. `lost` are dead masters without slots in the answer.
    """

    epoch: int
    shards: tuple[Shard, ...]
    nodes: tuple[Address, ...]
    down: bool = False
    lost: tuple[Address, ...] = ()

    def recalling(self, before: Self | None) -> Self:
        """Return this topology with the slots that lost masters had before, unless another master has them now.

        Redis 8.0 names a dead master without its slots, until a replica takes them over. Earlier ones leave it them.
        """
        known = [] if before is None else [shard for shard in before.shards if shard.address in self.lost]
        if not known:
            return self
        taken = sorted((first, last) for first, last, _ in self.ranges())
        recalled = [replace(shard, ranges=tuple(_untaken(shard.ranges, taken))) for shard in known]
        return replace(self, shards=(*self.shards, *(shard for shard in recalled if shard.ranges)))

    def ranges(self) -> Iterator[tuple[int, int, Address]]:
        """Yield the first and the last slot of each range, and the address of its master."""
        return ((first, last, shard.address) for shard in self.shards for first, last in shard.ranges)


class AddressMap:
    """Where nodes are: at the addresses that they announce, or at others for workers in another network."""

    def __init__(self, mapped: Mapping[Address, Address] = MappingProxyType({}), *, is_encrypted: bool = False) -> None:
        self._mapped = mapped
        self._port = b"tls-port" if is_encrypted else b"port"

    def place_of(self, node: Mapping[bytes, Any], asked: Address) -> Address:
        """Return the address of a node in an answer of `asked`.

        By the documentation of `cluster-preferred-endpoint-type`, a node with an empty endpoint is on the host that was
        asked, whatever its IP address. The endpoint `?` says that the node has no host name: its IP address counts.
        """
        host = node.get(b"endpoint", b"?")
        if host == NO_NAME.encode():
            host = node.get(b"ip")
        port = node.get(self._port) or node[b"port"]
        return self.reach((host.decode("ascii") if host else asked[0], int(port)))

    def reach(self, announced: Address) -> Address:
        """Return the address at which workers reach a node."""
        return self._mapped.get(announced, announced)


def read_topology(shards: Any, info: Any, asked: Address, addresses: AddressMap) -> Topology:
    """Read the answers of a node; raises ValueError for anything that is no topology."""
    if not isinstance(shards, list):
        raise ValueError("the answer is no topology of a cluster")
    try:
        found, nodes, lost = list[Shard](), list[Address](), list[Address]()
        for shard in shards[:_MOST_SHARDS]:
            fields = dict(zip(shard[::2], shard[1::2], strict=True))
            members = [dict(zip(one[::2], one[1::2], strict=True)) for one in fields[b"nodes"]]
            nodes += [addresses.place_of(one, asked) for one in members if one[b"health"] in _LIVING]
            slots = fields[b"slots"]
            ranges = tuple((int(first), int(last)) for first, last in zip(slots[::2], slots[1::2], strict=True))
            masters = [one for one in members if one[b"role"] == b"master"]
            # Of two masters, one is dead, and the other has taken its part.
            masters.sort(key=lambda one: one[b"health"] not in _LIVING)
            if ranges and masters:
                if not all(0 <= first <= last < SLOTS for first, last in ranges):
                    raise ValueError("a slot that does not exist")
                node = masters[0].get(b"id", b"").decode("ascii")
                found.append(Shard(addresses.place_of(masters[0], asked), ranges, node))
            elif masters and masters[0][b"health"] not in _LIVING:
                lost.append(addresses.place_of(masters[0], asked))
        down = b"cluster_state:fail" in info
        return Topology(read_epoch(info), tuple(found), tuple(nodes[:_MOST_NODES]), down, tuple(lost))
    except (TypeError, KeyError, AttributeError, IndexError, UnicodeError) as error:
        raise ValueError("the answer is no topology of a cluster") from error


def _untaken(ranges: Iterable[tuple[int, int]], taken: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield what is left of these ranges of slots without those that are taken, which are in order."""
    for first, last in ranges:
        for begin, end in taken:
            if begin > last:
                break
            if end >= first:
                if begin > first:
                    yield first, begin - 1
                first = end + 1
        if first <= last:
            yield first, last


def read_epoch(info: Any) -> int:
    """Return the epoch in an answer to CLUSTER INFO; raises ValueError for anything else."""
    try:
        fields = dict(line.split(b":", 1) for line in info.splitlines() if b":" in line)
        return int(fields[b"cluster_current_epoch"])
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("the answer is no state of a cluster") from error


class Owners:
    """The masters of all slots."""

    def __init__(self, topology: Topology) -> None:
        ranges = sorted(topology.ranges())
        self._firsts = [first for first, _, _ in ranges]
        self._ranges = ranges

    def of(self, slot: int) -> Address | None:
        """Return the address of the master that has a slot; None if no node has it."""
        at = bisect_right(self._firsts, slot) - 1
        if at < 0:
            return None
        _, last, address = self._ranges[at]
        return address if slot <= last else None
