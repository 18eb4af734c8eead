"""The search for the topology of a cluster: its nodes are asked at the same time, and the newest answer counts."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from relay.backend.redis.cluster.node import Node, ask_once
from relay.backend.redis.cluster.topology import AddressMap, Topology, read_epoch, read_topology
from relay.backend.redis.connection import Dialer, pack
from relay.backend.redis.replies import RedisUnreachable, report_of
from relay.config.redis_url import Address
from relay.model.errors import RelayError, Unavailable

_TIME: Final = 1.0
"""Seconds within which nodes must answer."""

_MOST_DIALED: Final = 16
"""Nodes to which a search connects, if no connection is open."""

_MOST_ASKED: Final = 3
"""Nodes that are asked for all shards: the answer grows with the cluster, and all workers ask all the time."""

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
        answers = await self._collect([self._ask(node) for node in masters])
        if not answers:
            others = () if known is None else known.nodes
            places = list(dict.fromkeys((*self._seeds, *others)))[:_MOST_DIALED]
            answers = await self._collect([self._ask_anew(address) for address in places])
            heard = 0
        answers = [one for one in answers if one.shards]
        if not answers:
            self.report = self.report or "the nodes have no slots"
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
        epochs = await self._collect([self._epoch_of(node) for node in (*masters[start:], *masters[:start])])
        epochs.sort(key=lambda one: one[0], reverse=True)
        return [node for _, node in epochs[:_MOST_ASKED]], len(epochs)

    async def _collect(self, questions: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
        tasks = [asyncio.ensure_future(question) for question in questions]
        if not tasks:
            return []
        try:
            await asyncio.wait(tasks, timeout=_TIME)
            done = [task for task in tasks if task.done()]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        answers, reports = list[_T](), list[str]()
        for task in done:
            try:
                answers.append(task.result())
            except RedisUnreachable as error:
                reports.append(error.report)
            except Unavailable as error:
                reports.append(error.report or error.text)
            except RelayError as error:
                reports.append(error.text)
            except ValueError as error:
                reports.append(str(error))
        self.report = "" if answers else "; ".join(sorted(set(reports))) or f"no node answers within {_TIME:g} s"
        return answers

    @staticmethod
    async def _epoch_of(node: Node) -> tuple[int, Node]:
        return read_epoch(await node.client.call("CLUSTER", "INFO")), node

    async def _ask(self, node: Node) -> Topology:
        shards, info = await asyncio.gather(node.client.call("CLUSTER", "SHARDS"), node.client.call("CLUSTER", "INFO"))
        return read_topology(shards, info, node.address, self._addresses)

    async def _ask_anew(self, address: Address) -> Topology:
        shards, info = await ask_once(self._dial(address), _COMMANDS)
        for reply in (shards, info):
            if isinstance(reply, Exception):
                raise RedisUnreachable(str(reply), report_of(str(reply)))
        return read_topology(shards, info, address, self._addresses)
