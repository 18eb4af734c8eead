"""Commands to a cluster: over one connection to each master, which is chosen by the slot of the key."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Protocol, Self

from relay.awake import AwakeTime
from relay.backend.headroom import Headroom
from relay.backend.redis.client import RedisClient
from relay.backend.redis.clock import RedisClock
from relay.backend.redis.cluster.node import MakeNode, Node, NodeKeys
from relay.backend.redis.cluster.places import NodePlaces, State
from relay.backend.redis.cluster.redirects import HANDED_BACK, Redirect
from relay.backend.redis.cluster.slot import Slot
from relay.backend.redis.cluster.slots import SLOTS, slot_of_key, slot_of_tag
from relay.backend.redis.cluster.topology import NO_NAME, Owners, Topology
from relay.backend.redis.connection import Argument, Done
from relay.backend.redis.place import RedisPlace, ignore
from relay.backend.redis.reconnect import OutageLines
from relay.backend.redis.replies import ErrorReplies, shown
from relay.backend.redis.scripts import Script
from relay.config.redis_url import Address
from relay.model.errors import RelayError
from relay.tasks import KeptLoop

log = logging.getLogger("relay.backend.redis")

_INTERVAL: Final = 2.0
"""Seconds between two looks at the topology: a master that was cut off, and replaced, may not know of it."""

_SOON: Final = 0.25
"""Seconds between two looks while a slot has no node, or a node is not reached."""

_PAUSE: Final = 0.05
"""Seconds between two looks at least, for all callers together."""

_GRACE: Final = 1.0
"""Seconds in which a node that has no slots any more may still answer."""

_MOST_BYTES: Final = 67_108_864
"""Bytes of commands that are held while slots move, or have no node."""

_MOST_NAMED: Final = 5
"""Masters that a log line names."""

_REFERENCE: Final = "{relay}"
"""A key that nobody writes: the clock of its node is the one that all workers share."""


class FindTopology(Protocol):
    """Asks nodes for the topology."""

    async def __call__(self, nodes: Sequence[Node], known: Topology | None) -> Topology | None:
        """Return the newest answer; None if there is none that is as new as the known one."""
        ...

    @property
    def report(self) -> str:
        """Why the last search has found nothing, for operators; "" if it has."""
        ...


class ClusterClient:
    """The nodes of a cluster, and the slots of the keys that were used.

    The topology is looked for by time, when a node sends a command elsewhere, and when a connection is lost. `watch`
    is for callers that must know of each change. A node that has no slots any more is given up. `on_failover` is called
    with the number of masters whose part other nodes have taken; a node that has another address is the same node.
    """

    clustered = True
    fenced = True

    def __init__(
        self,
        make_node: MakeNode,
        find: FindTopology,
        reach: Callable[[Address], Address],
        keys: NodeKeys,
        *,
        timeout: float,
        waiting: int,
        headroom: Headroom,
        on_error: Callable[[], object] = lambda: None,
        on_given_up: Callable[[Address], object] = lambda address: None,
        on_failover: Callable[[int], object] = lambda number: None,
        awake: AwakeTime | None = None,
    ) -> None:
        self.awake = awake or AwakeTime()
        self.errors = ErrorReplies(on_error)
        self.headroom = headroom
        self.timeout = timeout
        self.on_command: Callable[[], object] = lambda: None
        """Called before each command but those of publications."""
        self._make_node = make_node
        self._on_given_up = on_given_up
        self._on_failover = on_failover
        self._find = find
        self._reach = reach
        self._keys = keys
        self._most_held = waiting
        self._held = self._held_bytes = 0
        self.nodes: dict[Address, Node] = {}
        self.topology: Topology | None = None
        self._owners: Owners | None = None
        self._places = NodePlaces(self._state_of)
        self._ails_since: float | None = None
        self._slots: list[Slot | None] = [None] * SLOTS
        self._watchers: list[Callable[[], None]] = []
        self._wanted = asyncio.Event()
        self._closing = set[asyncio.Task[None]]()
        self._kept: KeptLoop | None = None
        self._outage = OutageLines()
        self._unknown_since: float | None = None

    async def __aenter__(self) -> Self:
        self.awake.open()
        self._kept = KeptLoop(self._look, "redis topology")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._kept is not None:
            await self._kept.stop()
            self.awake.close()
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        for node in self.nodes.values():
            await node.client.__aexit__(kind, error, trace)

    @property
    def loop(self) -> KeptLoop | None:
        """The loop that looks for the topology; None before the client is opened."""
        return self._kept

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call back with each new topology, once its nodes are in `nodes`."""
        self._watchers.append(on_change)

    # Where keys are.

    def at_key(self, key: str) -> RedisPlace:
        """Return the slot of the key."""
        return self._slot(slot_of_key(key))

    def at_room(self, room: str) -> RedisPlace:
        """Return the slot of the room."""
        return self._slot(slot_of_tag(room))

    def node_of(self, slot: int) -> Node | None:
        """Return the node that has a slot, by the topology."""
        address = None if self._owners is None else self._owners.of(slot)
        return None if address is None else self.nodes.get(address)

    def client_of(self, slot: int) -> RedisClient | None:
        """Return the client of that node."""
        node = self.node_of(slot)
        return None if node is None else node.client

    def _slot(self, number: int) -> Slot:
        slot = self._slots[number]
        if slot is None:
            slot = self._slots[number] = Slot(number, self)
        return slot

    def answered_by(self, slot: int) -> RedisClient | None:
        """Return the client whose node has given the reply that is being handed out, about a key of this slot."""
        return self._slot(slot).answered_by

    @property
    def slots_served(self) -> int:
        """How many slots have a node."""
        if self.topology is None:
            return 0
        return sum(last - first + 1 for first, last, _ in self.topology.ranges())

    @property
    def ails(self) -> float:
        """Seconds for which the cluster has been down, or slots have had no node; 0 if neither is so."""
        return 0.0 if self._ails_since is None else self.awake.now - self._ails_since

    # Commands.

    def flush(self) -> None:
        """Write all commands that were sent in this turn of the event loop now."""
        for node in self.nodes.values():
            node.client.flush()

    def tell(self, *arguments: Argument, done: Done = ignore) -> None:
        """Send one command to the node that has the key."""
        self.at_key(str(arguments[1])).tell(*arguments, done=done)

    def call(self, *arguments: Argument) -> asyncio.Future[Any]:
        """Send one command to the node that has the key; the future gets the reply."""
        return self.at_key(str(arguments[1])).call(*arguments)

    def run(self, script: Script, keys: Sequence[str], *arguments: Argument) -> asyncio.Future[Any]:
        """Run a script at the node that has the keys; the future gets the result."""
        return self.at_key(keys[0]).run(script, keys, *arguments)

    def send_script(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument], done: Done) -> None:
        """Run a script at the node that has the keys."""
        self.at_key(keys[0]).send_script(script, keys, arguments, done)

    def script_error(self, reply: Any) -> RelayError:
        """Return the error for a reply that is not a result of the script."""
        return self.errors.error_of(reply, script=True) or self.errors.unexpected(reply)

    # The state.

    @property
    def clock(self) -> RedisClock:
        """The clock of the node that has a certain slot."""
        return self.at_key(_REFERENCE).clock

    @property
    def reachable(self) -> bool:
        """Whether all nodes are reached."""
        return bool(self.nodes) and all(node.client.reachable for node in self.nodes.values())

    @property
    def report(self) -> str:
        """Why some nodes are not reached, or nothing is known of the cluster."""
        if not self.nodes:
            return self._find.report or "the nodes of the cluster are not known yet"
        away = [node for node in self.nodes.values() if not node.client.reachable]
        return "; ".join(f"{shown(node.address)}: {node.client.report}" for node in away)

    def look_after(self) -> None:
        """Ask each node for its time, its run and its memory."""
        for node in self.nodes.values():
            node.client.bound_clock()
            node.client.check_run()
            node.memory.ask()

    # For slots.

    def follow(self, redirect: Redirect, slot: int, asked: RedisClient | None) -> RedisClient | None:
        """Return the client of the node that a redirection names, and look for the new topology."""
        self.refresh()
        if redirect.target is None:
            return None
        address = self._places.of(self._reach(self._named(redirect.target, asked)))
        node = self.nodes.get(address)
        if node is None:
            node = self._make(address)
            node.serve_slot(slot, self._keys)
            node.client.open()
        return node.client

    def _named(self, target: Address, asked: RedisClient | None) -> Address:
        """Return the target of a redirection with a host, also if the node has told none, or `?` for it."""
        host, port = target
        if host == NO_NAME:
            known = [address for address in self.nodes if address[1] == port]
            if len(known) == 1:
                return known[0]
        if host in {"", NO_NAME}:
            host = next((node.address[0] for node in self.nodes.values() if node.client is asked), "")
        return host, port

    def may_hold(self, size: int) -> bool:
        """Count a command that is held; False if too many are held already."""
        if self._held >= self._most_held or self._held_bytes >= _MOST_BYTES:
            return False
        self._held += 1
        self._held_bytes += size
        return True

    def released(self, size: int) -> None:
        """Count a command that is held no more."""
        self._held -= 1
        self._held_bytes -= size

    # The topology.

    def refresh(self) -> None:
        """Look for the topology soon."""
        self._wanted.set()

    async def _look(self) -> None:
        while True:
            self._wanted.clear()
            found = await self._find(list(self.nodes.values()), self.topology)
            if found is not None:
                self._apply(found)
            self._log_search(found)
            well = found is not None and self.reachable and self._ails_since is None
            try:
                async with asyncio.timeout(_INTERVAL if well else _SOON):
                    await self._wanted.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(_PAUSE)

    def _log_search(self, found: Topology | None) -> None:
        """Log why nothing was found, once for each cause, and that the cluster is found again."""
        now = time.monotonic()
        if found is not None:
            if self._unknown_since is not None:
                log.warning("the Redis cluster was found after %.1f s", now - self._unknown_since)
                self._unknown_since = None
                self._outage.clear()
            return
        report = self._find.report
        if not report:
            # An answer that is older than what is known: the lines about the lost nodes say more.
            return
        if self._unknown_since is None:
            self._unknown_since = now
        if self._outage.is_new(report, now):
            # The report is made of the relay's own words, and of parts that are escaped.
            log.warning(
                "cannot find the nodes of the Redis cluster (%s); trying again until one of redis-url tells them",
                report,
            )

    def _apply(self, topology: Topology) -> None:
        before = self.topology
        self.topology = topology = self._places.settle(topology).recalling(before)
        if not topology.down and self.slots_served == SLOTS:
            self._ails_since = None
        elif self._ails_since is None:
            self._ails_since = self.awake.now
        if before is not None and set(before.shards) == set(topology.shards) == self._served():
            return
        self._owners = Owners(topology)
        for shard in topology.shards:
            node = self.nodes.get(shard.address)
            if node is None:
                node = self._make(shard.address)
                node.serve(shard, self._keys)
                node.client.open()
            else:
                node.serve(shard, self._keys)
        for slot in self._slots:
            if slot is not None:
                slot.move_to(self.client_of(slot.number))
        masters = {shard.address for shard in topology.shards}
        for address in [address for address in self.nodes if address not in masters]:
            self._give_up(self.nodes.pop(address), lives=address in topology.nodes)
        if before is not None:
            self._compare(before, topology)
        for watcher in self._watchers:
            watcher()

    def _compare(self, before: Topology, now: Topology) -> None:
        """Log, and count, the masters that other nodes have replaced."""
        old = {shard.master: shard.address for shard in before.shards}
        new = {shard.master: shard.address for shard in now.shards}
        if old.keys() == new.keys():
            return
        come, gone = new.keys() - old.keys(), old.keys() - new.keys()
        log.warning(
            "the Redis cluster has other masters: %s new, %s gone; %d now, %d before",
            _listed([new[master] for master in come]), _listed([old[master] for master in gone]), len(new), len(old),
        )  # fmt: skip
        # A cluster that grows or shrinks has other masters as well, and none in place of another.
        if replaced := min(len(gone), len(come)):
            self._on_failover(replaced)

    def _state_of(self, address: Address) -> State:
        node = self.nodes.get(address)
        return State(False, False) if node is None else State(node.client.reachable, node.hears())

    def _served(self) -> set[Any]:
        return {node.shard for node in self.nodes.values()}

    def _make(self, address: Address) -> Node:
        node = self.nodes[address] = self._make_node(address, self.refresh)
        return node

    def _give_up(self, node: Node, *, lives: bool) -> None:
        """Close the connection to a node without slots; commands that were not sent go elsewhere."""
        self._on_given_up(node.address)
        node.client.hand_back(HANDED_BACK)
        task = asyncio.create_task(_close(node.client, _GRACE if lives else 0))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _listed(addresses: Sequence[Address]) -> str:
    """Return some addresses for logs."""
    names = [shown(address) for address in sorted(addresses)]
    return (", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")) or "none"


async def _close(client: RedisClient, grace: float) -> None:
    try:
        if not client.is_idle:
            await asyncio.sleep(grace)
    finally:
        await client.__aexit__(None, None, None)
        client.hand_back(HANDED_BACK)
