"""The search for the topology of a cluster: its nodes are asked at the same time, and the newest answer counts."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from relay.backend.redis.cluster.node import Node, ask_once
from relay.backend.redis.cluster.topology import AddressMap, Topology, read_epoch, read_topology
from relay.backend.redis.connection import Dialer, pack
from relay.backend.redis.replies import RedisUnreachable, report_of, shown
from relay.config.redis_url import Address
from relay.model.errors import RelayError, Unavailable

_TIME: Final = 1.0
"""Seconds within which nodes must answer."""

_MOST_DIALED: Final = 16
"""Nodes to which a search connects, if no connection is open."""

_MOST_ASKED: Final = 3
"""Nodes that are asked for all shards: the answer grows with the cluster, and all workers ask all the time."""

_MOST_NAMED: Final = 5
"""Addresses with the same reason that a report names."""

_NO_SLOTS: Final = "it knows of no node with slots; make the cluster first (redis-cli --cluster create)"

_COMMANDS: Final = (pack("CLUSTER", "SHARDS"), pack("CLUSTER", "INFO"))

_T = TypeVar("_T")


class TopologySearch:
    """Asks all masters to which there is a connection; if there is none, the nodes of the URL and those known since.

    A node that was cut off from the others, or has not heard of a change yet, has a lower epoch. While most masters
    answer, the highest epoch counts, also if a higher one was known: a cluster may have been made anew. Else an answer
    must be at least as new as the known topology. In a large cluster, all are asked for the epoch, and of those with
    the highest one a few for the shards, in turn.
    """

    def __init__(self, seeds: Sequence[Address], addresses: AddressMap, dial: Callable[[Address], Dialer]) -> None:
        self._seeds = seeds
        self._addresses = addresses
        self._dial = dial
        self._turn = 0
        self.report = ""

    async def __call__(self, nodes: Sequence[Node], known: Topology | None) -> Topology | None:
        """Return the newest answer; None if there is none that counts."""
        masters: Sequence[Node] = [node for node in nodes if node.client.reachable]
        heard = 0
        if len(masters) > _MOST_ASKED:
            masters, heard = await self._newest(masters)
        answers = await self._collect([(node.address, self._ask(node)) for node in masters])
        if not answers:
            others = () if known is None else known.nodes
            places = list(dict.fromkeys((*self._seeds, *others)))[:_MOST_DIALED]
            answers = await self._collect([(address, self._ask_anew(address)) for address in places])
            heard = 0
        if not answers:
            return None
        newest = max(answers, key=lambda one: (one.epoch, len(one.shards)))
        # One that was cut off from the others says so of itself.
        newest = replace(newest, down=all(one.down for one in answers))
        most = known is None or max(heard, len(answers)) > len(known.shards) // 2
        return newest if known is None or most or newest.epoch >= known.epoch else None

    async def _newest(self, masters: Sequence[Node]) -> tuple[Sequence[Node], int]:
        """Return a few of the nodes with the highest epochs, and how many have answered."""
        # Nodes of one epoch may still differ, as they hear of moved slots one after the other.
        self._turn += 1
        start = self._turn * _MOST_ASKED % len(masters)
        turn = (*masters[start:], *masters[:start])
        epochs = await self._collect([(node.address, self._epoch_of(node)) for node in turn])
        epochs.sort(key=lambda one: one[0], reverse=True)
        return [node for _, node in epochs[:_MOST_ASKED]], len(epochs)

    async def _collect(self, questions: Sequence[tuple[Address, Coroutine[Any, Any, _T]]]) -> list[_T]:
        """Return the answers that come in time; if there are none, `report` has the reason of each address."""
        tasks = {asyncio.ensure_future(question): address for address, question in questions}
        if not tasks:
            return []
        try:
            await asyncio.wait(tasks, timeout=_TIME)
            done = {task for task in tasks if task.done()}
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        answers, reasons = list[_T](), dict[str, list[Address]]()
        for task, address in tasks.items():
            try:
                if task in done:
                    answers.append(task.result())
                    continue
                reason = f"no answer within {_TIME:g} s"
            except RedisUnreachable as error:
                reason = error.report
            except Unavailable as error:
                reason = error.report or error.text
            except RelayError as error:
                reason = error.text
            except ValueError as error:
                reason = str(error)
            reasons.setdefault(reason, []).append(address)
        self.report = "" if answers else "; ".join(map(_at, reasons.values(), reasons))
        return answers

    @staticmethod
    async def _epoch_of(node: Node) -> tuple[int, Node]:
        return read_epoch(await node.client.call("CLUSTER", "INFO")), node

    async def _ask(self, node: Node) -> Topology:
        shards, info = await asyncio.gather(node.client.call("CLUSTER", "SHARDS"), node.client.call("CLUSTER", "INFO"))
        return self._read(shards, info, node.address)

    async def _ask_anew(self, address: Address) -> Topology:
        shards, info = await ask_once(self._dial(address), _COMMANDS)
        for reply in (shards, info):
            if isinstance(reply, Exception):
                raise RedisUnreachable(str(reply), report_of(str(reply)))
        return self._read(shards, info, address)

    def _read(self, shards: Any, info: Any, asked: Address) -> Topology:
        found = read_topology(shards, info, asked, self._addresses)
        if not found.shards:
            raise ValueError(_NO_SLOTS)
        return found


def _at(addresses: Sequence[Address], reason: str) -> str:
    """Return a reason behind the addresses of the nodes that have it."""
    named = ", ".join(map(shown, addresses[:_MOST_NAMED]))
    more = len(addresses) - _MOST_NAMED
    return f"{named}{f' and {more} more' if more > 0 else ''}: {reason}"
