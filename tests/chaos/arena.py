"""Three workers, a Redis that keeps its data, networks that can be made to fail, and rooms full of clients."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import httpx2 as httpx

from tests import redis_user
from tests.chaos.cluster_network import ClusterView
from tests.chaos.crowd import MEMBERS, Crowd
from tests.chaos.members import SLOW
from tests.chaos.network import Network
from tests.chaos.sentinel_network import View
from tests.clusters import Cluster
from tests.fleet import RedisServer, Relay, eventually
from tests.sentinels import SentinelSet

WORKERS = MEMBERS
SETTINGS: dict[str, Any] = {
    "worker_lease": 1.5,
    "reconnect_grace": 4.0,
    "probe_timeout": 1.0,
    "publish_timeout": 2.0,
    "drain_timeout": 3.0,
    "max_message": 65_536,
    "send_buffer": 262_144,
    "message_rate": 2000,
}


STARTED = 40.0
"""Seconds within which workers start, even while others start on the same machine."""


@dataclass
class Post:
    """One worker, the network between it and Redis, and the network between its clients and it."""

    back: Network
    front: Network
    relay: Relay = field(init=False)
    view: View | None = None
    """The worker's view of sentinels and their servers, if it finds the master by them."""
    environment: dict[str, str] = field(default_factory=dict)
    shards: ClusterView | None = None
    """The worker's view of a cluster, if Redis is one."""

    settings: dict[str, Any] = field(default_factory=dict)
    spare: tuple[Network, Relay] | None = None

    def launch(self, port: int = 0) -> None:
        """Start the worker, on the same port as before if that is given."""
        self.relay = self._new(self.back, port)

    def _new(self, back: Network, port: int = 0) -> Relay:
        place = self.view or self.shards
        url = place.url if place else redis_user.url(back.port)
        more = self.shards.settings if self.shards else {}
        return Relay(redis_url=url, port=port, environment=self.environment, **self.settings, **more)

    @property
    def networks(self) -> Sequence[Network]:
        """The networks between the worker and each Redis."""
        place = self.view or self.shards
        return list(place.networks.values()) if place else [self.back]

    async def prepare(self, back: Network) -> None:
        """Start another worker, which does not reach Redis yet; `replace` needs it."""
        back.refusing = True
        self.spare = back, self._new(back)
        await eventually(lambda: self.spare and self.spare[1].healthy(503), STARTED)

    def replace(self) -> None:
        """Put the prepared worker at the place of this one, which has ended. It reaches Redis from now on."""
        assert self.spare is not None
        self.relay.close()
        (self.back, self.relay), self.spare = self.spare, None
        self.front.target = self.relay.port
        self.back.refusing = False

    def close(self) -> None:
        """End all processes."""
        self.relay.close()
        if self.spare is not None:
            self.spare[1].close()

    async def start(self) -> None:
        """Start the worker again on the same port, and wait until it is ready."""
        self.relay.close()
        self.launch(self.relay.port)
        await self.ready()

    async def ready(self) -> None:
        """Wait until the worker is ready."""
        await eventually(self.relay.healthy, STARTED)


FAILOVER = 120.0
"""Seconds for which senders go on: a failover may take long on a busy machine, and they must not give up before."""


class Arena(Crowd):
    """The workers (`posts`), `redis`, and the crowd; `homes` are the workers on which members joined first.

    With `sentinels`, workers use the master that these watch, and with a `cluster` its masters, and not `redis`.

    Each context that enters `stack` ends with the arena.
    """

    kinds = ("relay.client", "python", "javascript")

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.redis = RedisServer(persistent=True)
        self.sentinels: SentinelSet | None = None
        self.cluster: Cluster | None = None
        self.stack = AsyncExitStack()
        self._http = httpx.AsyncClient(timeout=STARTED)
        self.posts: list[Post] = []
        self.homes: dict[tuple[str, str], Post] = {}

    async def close_http(self) -> None:
        """Close the connections over which workers were asked for lists."""
        await self._http.aclose()

    async def prepare_workers(self) -> None:
        """Start workers with which the present ones can be replaced without the time of a start."""
        networks = [await self.stack.enter_async_context(Network(self.redis.port)) for _ in self.posts]
        await asyncio.gather(*map(Post.prepare, self.posts, networks))

    @property
    def post(self) -> Post:
        """A worker, chosen at random."""
        return self.draw.choice(self.posts)

    def url(self, post: Post) -> str:
        """The address of a worker for clients."""
        return f"ws://127.0.0.1:{post.front.port}"

    @property
    def addresses(self) -> Sequence[str]:
        """The addresses of all workers, each behind a network of its own."""
        return [self.url(post) for post in self.posts]

    @property
    def direct_addresses(self) -> Sequence[str]:
        """The addresses of all workers, each with no network before it."""
        return [post.relay.ws for post in self.posts]

    async def disagreeing_lists(self, rooms: Iterable[str]) -> list[str]:
        """Ask every worker over HTTP, not through the network that fails."""
        wrong = []
        for room, post in itertools.product(rooms, self.posts):
            listed = await self._list(room, post)
            if isinstance(listed, str):
                wrong.append(f"a worker answers {listed} about {room}")
            elif listed != {(name, False) for name in self.expected[room]}:
                wrong.append(f"a worker lists {sorted(listed)} in {room}")
        return wrong

    async def ghosts(self) -> set[tuple[str, str]]:
        """See `Crowd`; the workers' own lists of all rooms count, too."""
        ghosts = await super().ghosts()
        for room in self.expected:
            for post in self.posts:
                listed = await self._list(room, post)
                if not isinstance(listed, str):
                    ghosts |= {(room, peer) for peer, _ in listed if peer not in self.expected[room]}
        return ghosts

    async def _list(self, room: str, post: Post) -> set[tuple[str, bool]] | str:
        """The members that a worker lists, and whether it holds them; the code of its error, if it answers one."""
        answer = (await self._http.get(f"{post.relay.http}/rooms/{room}", headers=post.relay.authorised)).json()
        if "error" in answer:
            return str(answer["error"]["code"])
        return {(one["peer"], one.get("held", False)) for one in answer["members"]}


@asynccontextmanager
async def arena(
    *,
    seed: int,
    rooms: int,
    fake_time: dict[str, str] | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    kinds: Sequence[str] = (),
    slow: float = SLOW,
    replicas: int = 0,
    masters: int = 0,
) -> AsyncIterator[Arena]:
    """An arena with all members joined; the last worker runs with `fake_time` in its environment.

    With `replicas`, a master has so many, and sentinels watch it; with `masters`, they are those of a
    cluster. `settings` are those that differ from `SETTINGS`,
    `kinds` the clients of a room, if they are not those of `Arena`; each gives an attempt up after `slow` seconds.
    """
    field_ = Arena(seed)
    field_.kinds = kinds or field_.kinds
    field_.slow = slow
    if masters or replicas:
        field_.patience = FAILOVER
    async with field_.stack as stack:
        stack.callback(field_.redis.close)
        stack.push_async_callback(field_.close_http)
        field_.redis.start()
        if masters:
            field_.cluster = Cluster(masters, replicas=bool(replicas), persistent=True)
            stack.callback(field_.cluster.close)
            await asyncio.to_thread(field_.cluster.start)
        elif replicas:
            field_.sentinels = SentinelSet(replicas, safe=True)
            stack.callback(field_.sentinels.close)
            await field_.sentinels.start()
        for number in range(WORKERS):
            environment = (fake_time or {}) if number == WORKERS - 1 else {}
            back = await stack.enter_async_context(Network(field_.redis.port))
            front = await stack.enter_async_context(Network(0))
            post = Post(back, front, environment=environment, settings={**SETTINGS, **settings})
            if field_.sentinels is not None:
                post.view = await View(field_.sentinels).open(stack)
            if field_.cluster is not None:
                post.shards = await ClusterView(field_.cluster).open(stack)
            post.launch()
            front.target = post.relay.port
            field_.posts.append(post)
            stack.callback(post.close)
        for post in field_.posts:
            await post.ready()
        await field_.fill(stack, rooms)
        for room, turn in zip(field_.expected, itertools.count()):
            for number in range(MEMBERS):
                field_.homes[room, f"p{number}"] = field_.posts[(number + turn) % WORKERS]
        stack.push_async_callback(field_.close)
        yield field_
