"""The subscriptions of a worker at all nodes of a cluster: one line to each master."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Final, Self

from relay.awake import AwakeTime
from relay.backend.bus import BusHealth
from relay.backend.redis.client import RedisClient
from relay.backend.redis.cluster.client import ClusterClient
from relay.backend.redis.cluster.node import Node
from relay.backend.redis.cluster.replication import ShardReplication
from relay.backend.redis.cluster.slots import SLOTS, slot_of_key
from relay.backend.redis.cluster.subscriber import ShardSubscriber, Subscription
from relay.backend.redis.connection import Dialer
from relay.backend.redis.error_codes import ERROR_CODES
from relay.backend.redis.line import Line, LineArrivals
from relay.backend.redis.replies import shown
from relay.backend.redis.subscriber import Arrival
from relay.config.redis_url import Address
from relay.model.errors import Unavailable

log = logging.getLogger("relay.backend.redis")

_DOWN: Final = f"{ERROR_CODES['CLUSTERDOWN'].meaning}; {ERROR_CODES['CLUSTERDOWN'].remedy}"

_MOST_NAMED: Final = 5
"""Dead masters that health names."""

_FAILOVER: Final = 2
"""Times `publish-timeout` after which no failover is expected any more.

It takes `cluster-node-timeout`, which is to be `publish-timeout` at least, and some seconds. Whoever waits meanwhile is
served as soon as the new master is there.
"""

_RETRY: Final = 0.05
"""Seconds between two attempts to subscribe where a slot has gone, while the nodes do not agree about it."""


class ShardLine(Line):
    """A line to a node of a cluster; `on_moved` is called with each slot that the node does not have."""

    def __init__(
        self,
        client: RedisClient,
        dialer: Dialer,
        *,
        probe: str,
        timeout: float,
        probe_timeout: float,
        awake: AwakeTime | None = None,
        on_moved: Callable[[int], None],
        on_reconnect: Callable[[], object],
    ) -> None:
        self.shard = ShardSubscriber(dialer, timeout=timeout, on_reconnect=on_reconnect, on_moved=on_moved, awake=awake)
        super().__init__(client, self.shard, probe=probe, timeout=probe_timeout, awake=awake, publish="SPUBLISH")


MakeLine = Callable[[Node, str, Callable[[int], None]], ShardLine]
"""Makes the line to a node, with the Redis channel of its probe and `on_moved`."""


class ClusterLines:
    """Subscribes to each Redis channel at the node that has its slot, and follows the slot.

    A subscription that goes to another node shows a gap there: its events are read from the history. The worker is
    ready while it hears itself over all lines, or over any, as `all_needed` says. `refusal_of` says why a node refuses
    commands, "" if it does not: its line counts as deaf meanwhile.
    """

    def __init__(
        self,
        cluster: ClusterClient,
        make_line: MakeLine,
        probe_of: Callable[[Node], str],
        replication: ShardReplication,
        refusal_of: Callable[[Node], str],
        *,
        all_needed: bool,
        timeout: float,
        awake: AwakeTime | None = None,
    ) -> None:
        self._awake = awake or AwakeTime()
        self._cluster = cluster
        self._make_line = make_line
        self._probe_of = probe_of
        self._replication = replication
        self._refusal_of = refusal_of
        self._all_needed = all_needed
        self._timeout = timeout
        self._on_arrivals: LineArrivals = _nowhere
        self._lines: dict[Address, ShardLine] = {}
        # The channels of each slot; where they are subscribed; and those that are on their way.
        self._channels: dict[int, dict[str, None]] = {}
        self._where: dict[int, ShardLine] = {}
        self._adrift: dict[str, Subscription] = {}
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closing = set[asyncio.Task[None]]()
        self._is_open = False

    async def __aenter__(self) -> Self:
        self._is_open = True
        self._awake.open()
        self._cluster.watch(self._arrange)
        self._arrange()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        self._awake.close()
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        for line in self._lines.values():
            await line.__aexit__(kind, error, trace)

    def deliver(self, on_arrivals: LineArrivals) -> None:
        """Deliver to this callback."""
        self._on_arrivals = on_arrivals

    async def subscribe(self, channels: Iterable[str]) -> None:
        """Return when the nodes have confirmed all; raise `Unavailable` if they have not in time."""
        waiting = {channel: self._confirmation_of(channel) for channel in channels}
        self._begin({channel: Subscription(waiting=one) for channel, one in waiting.items()})
        try:
            async with self._awake.limit(self._timeout):
                for confirmation in waiting.values():
                    # Another caller may wait for the same confirmation, and must not be cancelled with this one.
                    await asyncio.shield(confirmation)
        except TimeoutError:
            text = f"a part of the Redis cluster did not confirm a subscription within {self._timeout:g} s"
            raise Unavailable(text).because(f"{text}: {self.health().problem}") from None

    def add(self, channel: str) -> None:
        """Subscribe to a channel, without waiting for the confirmation."""
        self._begin({channel: Subscription()})

    def unsubscribe(self, channels: Iterable[str]) -> None:
        """End the subscriptions to these channels."""
        for channel in channels:
            slot = slot_of_key(channel)
            its = self._channels.get(slot, {})
            its.pop(channel, None)
            self._adrift.pop(channel, None)
            if (line := self._where.get(slot)) is not None:
                line.unsubscribe([channel])
            if not its:
                self._channels.pop(slot, None)
                self._where.pop(slot, None)

    def health(self) -> BusHealth:
        """Return the state: ready while enough lines are, with the lines that are deaf, and that of the replicas."""
        health, replication = self._health(), self._replication
        if not replication.is_known:
            return health
        return replace(health, replicas=replication.text, replicated=replication.suffices)

    def _health(self) -> BusHealth:
        states = [(address, self._state_of(address, line)) for address, line in self._lines.items()]
        deaf = [f"{self._name(address)}: {state.problem}" for address, state in states if not state.ready]
        missing = SLOTS - self._cluster.slots_served
        topology = self._cluster.topology
        if self._lines and missing:
            dead = ", ".join(shown(address) for address in (topology.lost if topology else ())[:_MOST_NAMED])
            deaf.append(f"{missing} of {SLOTS} slots: no node of the cluster has them" + (dead and f"; dead: {dead}"))
        down = topology is not None and topology.down
        if down:
            # Probes may be served all the same, and nothing else is.
            deaf.insert(0, _DOWN)
        heard = [state.heard for _, state in states]
        oldest = None if not heard or None in heard else max(one for one in heard if one is not None)
        ready = bool(states) and not down
        ready = ready and (not deaf if self._all_needed else any(state.ready for _, state in states))
        # Not deaf: no other worker could serve the clients, which a deaf one sends away.
        reachable = bool(states) and not missing and not down and all(state.reachable for _, state in states)
        if not states:
            # Not "all are heard": nothing is known of the shards.
            deaf.append(f"no shard is known; no node that redis-url names tells them ({self._cluster.report})")
        problem = "; ".join(deaf)
        if (loop := self._cluster.loop) is not None and loop.problem:
            ready, problem = False, f"{loop.name} {loop.problem}"
        return BusHealth(ready, reachable, oldest, problem, deaf=tuple(deaf))

    def _state_of(self, address: Address, line: ShardLine) -> BusHealth:
        """Return the state of a line; one whose node refuses commands is not ready, although probes come back."""
        state, node = line.health(), self._cluster.nodes.get(address)
        if node is None or not (refusal := self._refusal_of(node)):
            return state
        # Not reachable for commands. Its clients stay: no other worker could serve them better.
        return replace(state, ready=False, reachable=False, problem=f"refuses commands: {refusal}")

    def _name(self, address: Address) -> str:
        node = self._cluster.nodes.get(address)
        ranges = () if node is None or node.shard is None else node.shard.ranges
        slots = ", ".join(f"{first}-{last}" for first, last in ranges[:3])
        return f"shard {shown(address)} (slots {slots}{', …' if len(ranges) > 3 else ''})"

    def check(self, channel: str) -> None:
        """Raise `Unavailable` if the node of a channel, or the whole cluster, is away for longer than a failover takes.

        The error tells clients how far the fault reaches, and nothing of the nodes.
        """
        topology = self._cluster.topology
        if topology is not None and topology.down:
            away, what = self._cluster.ails, "the Redis cluster is down"
        else:
            line = self._line_of(slot_of_key(channel))
            away = self._cluster.ails if line is None else line.away
            what = "the part of the Redis cluster that has this room is away; other rooms go on"
        if away > _FAILOVER * self._timeout:
            raise Unavailable(f"{what} (since {away:.0f} s); nothing was done, try again in some seconds")

    # Where channels are.

    def _confirmation_of(self, channel: str) -> "asyncio.Future[None]":
        found = self._waiting.get(channel)
        if found is None or found.done():
            found = self._waiting[channel] = asyncio.get_running_loop().create_future()
            found.add_done_callback(lambda _: self._waiting.pop(channel, None))
        return found

    def _begin(self, new: dict[str, Subscription]) -> None:
        for channel, one in new.items():
            self._channels.setdefault(slot_of_key(channel), {})[channel] = None
            known = self._adrift.get(channel)
            self._adrift[channel] = one if known is None else one._replace(was_confirmed=known.was_confirmed)
        self._settle()

    def _arrange(self) -> None:
        """Open a line to each master, close lines to others, and move channels that are subscribed elsewhere."""
        if not self._is_open:
            return
        for node in self._cluster.nodes.values():
            if node.shard is None:
                continue
            line, probe = self._lines.get(node.address), self._probe_of(node)
            if line is None:
                address = node.address
                line = self._make_line(node, probe, lambda slot, address=address: self._lost_at(slot, address))  # type: ignore[misc]
                self._lines[address] = line
                node.hears = partial(_is_connected, line)
                line.deliver(self._on_arrivals)
                line.open()
            line.probe_on(probe)
        for slot, line in list(self._where.items()):
            if self._line_of(slot) is not line:
                self._moved(slot)
        for address in [address for address in self._lines if address not in self._cluster.nodes]:
            task = asyncio.create_task(_close(self._lines.pop(address)))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        self._settle()

    def _lost_at(self, slot: int, address: Address) -> None:
        """Take the channels of a slot away from a node that has said that it does not have the slot."""
        # An answer to an earlier command may come when they have gone elsewhere already.
        if (line := self._where.get(slot)) is not None and line is self._lines.get(address):
            self._moved(slot)

    def _moved(self, slot: int) -> None:
        """Take the channels of a slot away from their node, which does not have it."""
        line = self._where.pop(slot, None)
        if line is not None:
            self._adrift |= line.shard.give_up(self._channels.get(slot, {}))
            self._cluster.refresh()
            self._settle_soon()

    def _settle_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_RETRY, self._settle)

    def _settle(self) -> None:
        """Subscribe to all channels that are on their way, each at the node that has it now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        settled: dict[Address, dict[str, Subscription]] = {}
        for channel, one in self._adrift.items():
            slot = slot_of_key(channel)
            node = self._cluster.node_of(slot)
            line = None if node is None else self._lines.get(node.address)
            if node is not None and line is not None:
                self._where[slot] = line
                settled.setdefault(node.address, {})[channel] = one
        for address, its in settled.items():
            for channel in its:
                del self._adrift[channel]
            self._lines[address].shard.go_on(its)

    def _line_of(self, slot: int) -> ShardLine | None:
        node = self._cluster.node_of(slot)
        return None if node is None else self._lines.get(node.address)


def _is_connected(line: ShardLine) -> bool:
    return not line.subscriber.report


async def _close(line: ShardLine) -> None:
    await line.__aexit__(None, None, None)


def _nowhere(line: Line, arrivals: Sequence[Arrival]) -> None:
    pass
