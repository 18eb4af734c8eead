"""The nodes of a cluster, each with the connection for commands."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from relay.backend.redis.client import RedisClient
from relay.backend.redis.cluster.slots import find_tag
from relay.backend.redis.cluster.topology import Shard
from relay.backend.redis.connection import Dialer, Pending
from relay.backend.redis.memory import RedisMemory
from relay.backend.redis.run import RedisRun
from relay.config.redis_url import Address
from relay.model.errors import OutcomeUnknown, RelayError

_TAG: Final = "node"


def _always() -> bool:
    return True


class NodeKeys(Protocol):
    """The keys that are in a slot of one node."""

    def node_run(self, tag: str) -> str:
        """Return the key in which the fleet has the run of a node."""
        ...


@dataclass(slots=True)
class Node:
    """A master: its client, its run, and its memory; `tag` is a hash tag of one of its slots.

    `hears` tells whether the subscriptions at the node work.
    """

    address: Address
    client: RedisClient
    run: RedisRun
    memory: RedisMemory
    tag: str = ""
    shard: Shard | None = None
    hears: Callable[[], bool] = _always

    def serve(self, shard: Shard, keys: NodeKeys) -> None:
        """Note the slots that the node has now."""
        if shard != self.shard:
            self.shard = shard
            self._keep(find_tag(_TAG, shard.has), keys)

    def serve_slot(self, slot: int, keys: NodeKeys) -> None:
        """Note a slot of a node of which nothing else is known yet."""
        self._keep(find_tag(_TAG, slot.__eq__), keys)

    def _keep(self, tag: str, keys: NodeKeys) -> None:
        self.tag = tag
        self.run.key = self.memory.key = keys.node_run(tag)


MakeNode = Callable[[Address, Callable[[], None]], Node]
"""Makes the node with this address; the function is to be called when its connection is lost."""


async def ask_once(dialer: Dialer, commands: Sequence[bytes]) -> list[Any]:
    """Return the replies to some commands over a connection for them alone; raises `RedisUnreachable`."""
    pending = Pending()
    connection = await dialer.open(pending.resolve, lambda: pending.fail(OutcomeUnknown()))
    loop = asyncio.get_running_loop()
    try:
        futures: list[asyncio.Future[Any]] = [loop.create_future() for _ in commands]
        for command, future in zip(commands, futures, strict=True):
            connection.send(command)
            pending.add(0, partial(_settle, future))
        return await asyncio.gather(*futures)
    finally:
        connection.abort()


def _settle(future: asyncio.Future[Any], reply: Any) -> None:
    if future.done():
        return
    if isinstance(reply, RelayError):
        future.set_exception(reply)
    else:
        future.set_result(reply)
