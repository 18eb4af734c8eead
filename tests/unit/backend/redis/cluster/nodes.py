"""Nodes of a cluster that a test controls, and a cluster of them."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from relay.backend.headroom import Headroom
from relay.backend.redis.cluster.client import ClusterClient
from relay.backend.redis.cluster.keys import ClusterKeys
from relay.backend.redis.cluster.node import Node
from relay.backend.redis.cluster.topology import Shard, Topology
from relay.config.redis_url import Address


class Link:
    """The client of a node: the test answers its commands."""

    def __init__(self, address: Address, on_lost: Callable[[], None]) -> None:
        self.address = address
        self.on_lost = on_lost
        self.sent: list[bytes] = []
        self.pending: deque[Any] = deque()
        self.handed_back: list[Any] = []
        self.reachable, self.report, self.is_idle = True, "", True
        self.opened = self.closed = False
        self.asked: list[str] = []
        self.loop = None

    def open(self) -> None:
        self.opened = True

    async def __aexit__(self, *_: object) -> None:
        self.closed = True

    def send(self, command: bytes, done: Any) -> None:
        self.sent.append(command)
        self.pending.append(done)

    def hand_back(self, reply: Any) -> None:
        waiting, self.pending = self.pending, deque()
        for done in waiting:
            done(reply)

    def bound_clock(self) -> None:
        self.asked.append("time")

    def check_run(self) -> None:
        self.asked.append("run")

    def ask(self) -> None:
        self.asked.append("memory")


class Run:
    key = refusal = ""


class Search:
    """Finds the topology that the test has set."""

    report = ""

    def __init__(self) -> None:
        self.topology: Topology | None = None
        self.asked = 0

    async def __call__(self, nodes: Any, known: Any) -> Topology | None:
        self.asked += 1
        return self.topology


class World:
    """A cluster client, its links by the name of their host, and the topology."""

    def __init__(self) -> None:
        self.links: dict[str, Link] = {}
        self.search = Search()
        self.keys = ClusterKeys("relay")
        self.given_up: list[Address] = []
        self.changes = self.failovers = 0
        self.cluster = ClusterClient(
            self._make,
            self.search,
            lambda address: ("mapped" if address[0] == "announced" else address[0], address[1]),
            self.keys,
            timeout=0.2,
            waiting=3,
            headroom=Headroom(),
            on_given_up=self.given_up.append,
            on_failover=self._failed_over,
        )
        self.cluster.watch(self._changed)

    def _failed_over(self, number: int) -> None:
        self.failovers += number

    def _changed(self) -> None:
        self.changes += 1

    def _make(self, address: Address, on_lost: Callable[[], None]) -> Node:
        link: Any = Link(address, on_lost)
        self.links[address[0]] = link
        run: Any = Run()
        return Node(address, link, run, link)

    async def become(
        self,
        epoch: int = 1,
        *,
        down: bool = False,
        lost: Sequence[str] = (),
        ids: Mapping[str, str] = MappingProxyType({}),
        **owners: tuple[int, int],
    ) -> None:
        """Let the cluster find this topology: the first and last slot of each node, and dead masters without slots.

        `ids` has the ids of nodes by their hosts.
        """
        shards = tuple(Shard((host, 1), (slots,), ids.get(host, "")) for host, slots in owners.items())
        dead = tuple((host, 1) for host in lost)
        found = Topology(epoch, shards, tuple(one.address for one in shards), down, dead)
        self.search.topology, expected = found, found.recalling(self.cluster.topology)
        asked = self.search.asked
        self.cluster.refresh()
        if ids:
            # The cluster client may use other addresses. The second answer comes when the first one was taken.
            await until(lambda: self.search.asked > asked)
            self.cluster.refresh()
            await until(lambda: self.search.asked > asked + 1)
        else:
            await until(lambda: self.cluster.topology == expected)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)
