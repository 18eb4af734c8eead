"""Durability on a cluster: each master has replicas of its own."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from relay.backend.bus import Published
from relay.backend.redis.client import RedisClient
from relay.backend.redis.cluster.client import ClusterClient
from relay.backend.redis.cluster.node import Node
from relay.backend.redis.cluster.slots import slot_of_tag
from relay.backend.redis.durability import Replicas
from relay.model.errors import OutcomeUnknown, RelayError
from relay.model.publication import Receipt


class ClusterDurability:
    """Waits for the replicas of each master over a connection to it; `make` makes them for a node."""

    def __init__(
        self,
        cluster: ClusterClient,
        make: Callable[[Node], Replicas],
        on_unconfirmed: Callable[[], object] = lambda: None,
    ) -> None:
        self._cluster = cluster
        self._make = make
        self._on_unconfirmed = on_unconfirmed
        self._replicas: dict[RedisClient, Replicas] = {}
        self._closing = set[asyncio.Task[None]]()
        self._is_open = False

    async def __aenter__(self) -> Self:
        self._is_open = True
        self._cluster.watch(self._arrange)
        self._arrange()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        await asyncio.gather(*self._closing, return_exceptions=True)
        for replicas in self._replicas.values():
            await replicas.__aexit__(kind, error, trace)

    @property
    def problem(self) -> str:
        """Why nothing waits for the replicas of a node any more; "" if all do."""
        return "; ".join(filter(None, (replicas.problem for replicas in self._replicas.values())))

    def confirm(self, room: str, done: Published, outcome: Receipt | RelayError) -> None:
        """Pass a receipt on once the replicas of the node that has given it have the message."""
        answered = self._cluster.answered_by(slot_of_tag(room))
        replicas = None if answered is None else self._replicas.get(answered)
        if replicas is not None:
            replicas.after(done, outcome)
        elif isinstance(outcome, Receipt):
            # It has lost its slots since; the node that took its part may lack the message.
            self._on_unconfirmed()
            done(OutcomeUnknown("the Redis that has the message has lost its part in the cluster"))
        else:
            done(outcome)

    def _arrange(self) -> None:
        if not self._is_open:
            return
        nodes = {node.client: node for node in self._cluster.nodes.values()}
        for client, node in nodes.items():
            if client not in self._replicas:
                self._replicas[client] = self._make(node)
                self._replicas[client].open()
        for client in [client for client in self._replicas if client not in nodes]:
            task = asyncio.create_task(_close(self._replicas.pop(client)))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


async def _close(replicas: Replicas) -> None:
    await replicas.__aexit__(None, None, None)
