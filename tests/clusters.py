"""A Redis Cluster as processes: masters with the slots in equal ranges, and replicas if a test wants some."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Self

import pytest
import redis

from tests.certificates import Certificates
from tests.fleet import RedisServer, redis_version
from tests.ports import free_port, release_port

SLOTS: Final = 16_384

OLDEST: Final = (7, 0)
"""The first version of Redis whose clusters have sharded Redis channels."""

_NODE_TIMEOUT: Final = 2000
"""Milliseconds without an answer after which a node takes another one for dead; a busy machine delays answers."""


class Node(RedisServer):
    """One node of a cluster."""

    KIND = "cluster"

    def __init__(self, *, persistent: bool = False, certificates: Certificates | None = None) -> None:
        self.bus_port = free_port()
        options: dict[str, object] = {
            "cluster-enabled": "yes",
            "cluster-port": self.bus_port,
            "cluster-node-timeout": _NODE_TIMEOUT,
            # The other rooms go on while a shard is lost.
            "cluster-require-full-coverage": "no",
            # A replica that was behind its master a moment ago is good enough.
            "cluster-replica-validity-factor": 0,
            # Replicas stay with the master that the test gave them.
            "cluster-allow-replica-migration": "no",
            "repl-diskless-sync-delay": 0,
        }
        if certificates is not None:
            options |= certificates.server_options() | {"tls-cluster": "yes"}
        super().__init__(persistent=persistent, options=options)

    @property
    def id(self) -> str:
        """The name of the node in its cluster."""
        return str(self.ask("MYID"))

    def ask(self, *words: Any) -> Any:
        """The answer to `CLUSTER WORDS`."""
        with redis.Redis(port=self.port, decode_responses=True) as client:
            return client.execute_command("CLUSTER " + str(words[0]), *words[1:])

    def wait_to_lead(self) -> None:
        """Return when the node is a master."""
        deadline = time.monotonic() + 30
        with self.client as client:
            while client.info("replication")["role"] != "master":
                assert time.monotonic() < deadline, "the replica does not become the master"
                time.sleep(0.02)

    def info(self) -> dict[str, str]:
        """The answer to `CLUSTER INFO`."""
        with redis.Redis(port=self.port, decode_responses=True) as client:
            found: dict[str, str] = client.execute_command("CLUSTER INFO")
        return found

    def close(self) -> None:
        super().close()
        release_port(self.bus_port)


class Cluster:
    """`masters`, and `replicas` with one for each master, or none; `url` is for the relay.

    With `certificates`, all nodes use TLS.
    """

    def __init__(
        self,
        masters: int = 3,
        *,
        replicas: bool = False,
        persistent: bool = False,
        certificates: Certificates | None = None,
    ) -> None:
        self._persistent = persistent
        self._certificates = certificates
        self.masters = [Node(persistent=persistent, certificates=certificates) for _ in range(masters)]
        self.replicas = (
            [Node(persistent=persistent, certificates=certificates) for _ in self.masters] if replicas else []
        )

    @property
    def nodes(self) -> Sequence[Node]:
        """All nodes."""
        return (*self.masters, *self.replicas)

    @property
    def url(self) -> str:
        """The URL of the relay's user."""
        return self.url_by([one.link_port for one in self.masters])

    def url_by(self, ports: Sequence[int]) -> str:
        """The URL of the relay's user, by way of nodes at these ports."""
        login = self.masters[0].url.partition("://")[2].rpartition("@")[0]
        nodes = ",".join(f"127.0.0.1:{port}" for port in ports)
        if self._certificates is None:
            return f"redis+cluster://{login}@{nodes}"
        return f"rediss+cluster://{login}@{nodes}?ssl_ca_certs={self._certificates.authority}"

    def start(self) -> Self:
        """Start all nodes, and return when each of them knows the whole cluster.

        The test is skipped with a Redis that has no sharded Redis channels.
        """
        if redis_version() < OLDEST:
            pytest.skip("the relay needs Redis 7.0 for a cluster")
        for node in self.nodes:
            node.start()
        for number, (node, (first, last)) in enumerate(zip(self.masters, shares(len(self.masters)), strict=True)):
            # Different epochs from the beginning: the nodes need not settle them first.
            node.ask("SET-CONFIG-EPOCH", number + 1)
            node.ask("ADDSLOTSRANGE", first, last)
        self._introduce_all()
        for master, replica in zip(self.masters, self.replicas, strict=False):
            follow(replica, master)
        self._until(lambda node: node.info()["cluster_slots_assigned"] == str(SLOTS))
        self._until(lambda node: node.info()["cluster_state"] == "ok")
        return self

    def _introduce_all(self) -> None:
        """Have all nodes know each other; on a busy machine a handshake may take too long, and is made again."""
        deadline = time.monotonic() + 60
        while strangers := [node for node in self.nodes if node.info()["cluster_known_nodes"] != str(len(self.nodes))]:
            assert time.monotonic() < deadline, f"{len(strangers)} nodes do not get to know the others"
            for node in self.nodes[1:]:
                self.introduce(node)
            time.sleep(0.5)

    def introduce(self, node: Node) -> None:
        """Have a node meet the first one, by which it learns of all."""
        node.ask("MEET", "127.0.0.1", self.masters[0].port, self.masters[0].bus_port)

    def grow(self) -> Node:
        """Add a master without slots, and return it when all nodes know it."""
        new = Node(persistent=self._persistent, certificates=self._certificates)
        new.start()
        self.masters.append(new)
        self._introduce_all()
        self._until(lambda node: node.info()["cluster_state"] == "ok")
        return new

    def owner(self, slot: int, *, asked: Node | None = None) -> Node:
        """The master that has a slot, as a living node knows."""
        found = self._leader(slot, asked or self._living())
        assert found is not None, f"nobody has slot {slot}"
        return found

    def _leader(self, slot: int, asked: Node) -> Node | None:
        """The living master of a slot, or the dead one, which Redis 8.0 names without its slots."""
        for shard in asked.ask("SHARDS"):
            ranges = zip(shard["slots"][::2], shard["slots"][1::2], strict=True)
            if any(int(first) <= slot <= int(last) for first, last in ranges):
                # A master that is dead is listed beside the one that took its part.
                masters = sorted((one for one in shard["nodes"] if one["role"] == "master"), key=is_dead)
                return next(node for node in self.nodes if node.port == int(masters[0]["port"]))
        return None

    def move_slot(self, slot: int, target: Node, *, pause: Callable[[], None] = lambda: None) -> None:
        """Move a slot with its keys to another master, as `redis-cli --cluster reshard` does.

        `pause` is called while the slot is between the two: after the first of its keys has moved.
        """
        source = self.owner(slot)
        if source is target:
            return
        target.ask("SETSLOT", slot, "IMPORTING", source.id)
        source.ask("SETSLOT", slot, "MIGRATING", target.id)
        with redis.Redis(port=source.port) as client:
            first = True
            while keys := client.execute_command("CLUSTER GETKEYSINSLOT", slot, 1 if first else 10):
                client.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "REPLACE", "KEYS", *keys)
                if first:
                    pause()
                first = False
        # The new owner first: so no node ever sees a slot that nobody has.
        for node in (target, source, *[one for one in self.masters if one not in (source, target)]):
            with contextlib.suppress(redis.RedisError):
                node.ask("SETSLOT", slot, "NODE", target.id)

    @contextlib.contextmanager
    def moving(self, slot: int, target: Node) -> Iterator[None]:
        """A slot that is on its way to another master: its keys are at the source, and new ones go to the target."""
        source = self.owner(slot)
        target.ask("SETSLOT", slot, "IMPORTING", source.id)
        source.ask("SETSLOT", slot, "MIGRATING", target.id)
        try:
            yield
        finally:
            self.move_slot(slot, target)

    async def failed_over(self, slot: int, lost: Node) -> Node:
        """Return the node that has taken the slot over from a lost one."""
        asked = next(one for one in self.nodes if one is not lost and one in self.masters)
        deadline = time.monotonic() + 60
        while (owner := await asyncio.to_thread(self._leader, slot, asked)) in (lost, None):
            assert time.monotonic() < deadline, "no replica has taken the slot over"
            await asyncio.sleep(0.05)
        return owner

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    def _living(self) -> Node:
        for node in self.nodes:
            with contextlib.suppress(redis.RedisError):
                node.info()
                return node
        raise AssertionError("no node answers")

    def _until(self, condition: Callable[[Node], bool]) -> None:
        deadline = time.monotonic() + 30
        for node in self.nodes:
            while not condition(node):
                assert time.monotonic() < deadline, "the nodes do not become a cluster"
                time.sleep(0.02)


def is_dead(node: dict[str, Any]) -> bool:
    """Whether a node, as CLUSTER SHARDS lists it, is taken for dead by the others."""
    # In the words of Redis and of its documentation.
    return str(node["health"]) in ("fail", "failed")


def follow(replica: Node, master: Node) -> None:
    """Make a node the replica of another, and return when it has its data."""
    deadline = time.monotonic() + 30
    while True:
        try:
            replica.ask("REPLICATE", master.id)
            break
        except redis.ResponseError:  # it does not know the master yet
            assert time.monotonic() < deadline, "the replica does not learn of its master"
            time.sleep(0.02)
    with replica.client as client:
        while client.info("replication")["master_link_status"] != "up":
            assert time.monotonic() < deadline, "the replica does not get the data of its master"
            time.sleep(0.02)


def shares(masters: int) -> list[tuple[int, int]]:
    """The first and the last slot of each of so many equal ranges."""
    bounds = [SLOTS * number // masters for number in range(masters + 1)]
    return [(first, end - 1) for first, end in itertools.pairwise(bounds)]
