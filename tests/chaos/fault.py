"""A fault, and the common parts of all of them.

A fault without an effect proves nothing. So each waits for an effect of its own, unless the effect is certain.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.arena import Arena, Post
from tests.chaos.members import SLOW
from tests.chaos.network import Network

Strike = Callable[[Arena], Awaitable[None]]
SHORT, LONG = (0.3, 1.5), (2.0, 4.0)
CUT = (1.7, 2.5)
"""Longer than a lease; with the time until a worker has connected again, shorter than the grace time."""


@dataclass(frozen=True)
class Fault:
    """`strike` calls `over` when the fault ends, and returns when its effect was visible.

    If Redis `forgets`, or a client does not read, messages are lost for good. Then the members concerned must be told,
    and are `excused` for that. `settings` of the workers and `kinds` of clients are those that the fault needs. Clients
    give an attempt up after `slow` seconds. `pauses` are the seconds for which a client may wait between two attempts
    when the fault ends, because many before them have failed. With `replicas`, sentinels watch a master that has so
    many. With `masters`, Redis is a cluster of so many, each with a replica if
    there are `replicas`. A fault that is `durable` loses no acknowledged message, also if clients are excused.
    """

    name: str
    strike: Strike
    forgets: bool = False
    fakes_time: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    kinds: Sequence[str] = ()
    pauses: float = 0.0
    slow: float = SLOW
    replicas: int = 0
    masters: int = 0
    durable: bool = False


async def wait(arena: Arena, span: tuple[float, float]) -> None:
    """Wait for a random time of this span."""
    await asyncio.sleep(arena.draw.uniform(*span))


async def counted(post: Post, name: str, **labels: str) -> bool:
    """Whether a counter of this worker, which starts at zero, has grown."""
    return await post.relay.metric(name, **labels) > 0


async def touched(arena: Arena, *networks: Network) -> None:
    """Wait until one of these networks has harmed a connection."""
    await arena.show(
        "the network let everything through unharmed", lambda: any(network.touched for network in networks)
    )
