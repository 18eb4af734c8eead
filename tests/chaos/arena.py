"""Three workers, a Redis that keeps its data, networks that can be made to fail, and rooms full of clients."""

import itertools
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.crowd import MEMBERS, Crowd
from tests.chaos.network import Network
from tests.fleet import RedisServer, Relay

WORKERS = MEMBERS
SETTINGS: dict[str, Any] = {
    "worker_lease": 1.5,
    "reconnect_grace": 4.0,
    "probe_timeout": 1.0,
    "publish_timeout": 2.0,
    "drain_timeout": 3.0,
    "send_buffer": 262_144,
    "message_rate": 2000,
}
LONGER = max(SETTINGS["worker_lease"], SETTINGS["reconnect_grace"])


@dataclass
class Post:
    """One worker, the network between it and Redis, and the network between its clients and it."""

    back: Network
    front: Network
    relay: Relay
    environment: dict[str, str] = field(default_factory=dict)

    async def start(self) -> None:
        """Start the worker again on the same port."""
        self.relay.close()
        port = self.relay.port
        self.relay = Relay(
            redis_url=f"redis://127.0.0.1:{self.back.port}", port=port, environment=self.environment, **SETTINGS
        )
        await self.relay.ready()


class Arena(Crowd):
    """The workers (`posts`), `redis`, and the crowd; `homes` are the workers on which members joined first."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.redis = RedisServer(persistent=True)
        self.posts: list[Post] = []
        self.homes: dict[tuple[str, str], Post] = {}

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

    async def disagreeing_lists(self, rooms: Iterable[str]) -> list[str]:
        """Ask every worker over HTTP, not through the network that fails."""
        wrong = []
        for room, post in itertools.product(rooms, self.posts):
            answer = (await post.relay.get(f"/rooms/{room}")).json()
            if "error" in answer:
                wrong.append(f"a worker answers {answer['error']['code']} about {room}")
                continue
            listed = {(one["peer"], one.get("held", False)) for one in answer["members"]}
            if listed != {(name, False) for name in self.expected[room]}:
                wrong.append(f"a worker lists {sorted(listed)} in {room}")
        return wrong


@asynccontextmanager
async def arena(*, seed: int, rooms: int, fake_time: dict[str, str] | None = None) -> AsyncIterator[Arena]:
    """An arena with all members joined; the last worker runs with `fake_time` in its environment."""
    field_ = Arena(seed)
    async with AsyncExitStack() as stack:
        stack.callback(field_.redis.close)
        field_.redis.start()
        for number in range(WORKERS):
            environment = (fake_time or {}) if number == WORKERS - 1 else {}
            back = await stack.enter_async_context(Network(field_.redis.port))
            relay = Relay(redis_url=f"redis://127.0.0.1:{back.port}", environment=environment, **SETTINGS)
            front = await stack.enter_async_context(Network(relay.port))
            post = Post(back, front, relay, environment)
            field_.posts.append(post)
            stack.callback(lambda post=post: post.relay.close())
        for post in field_.posts:
            await post.relay.ready()
        await field_.fill(stack, rooms)
        for room, turn in zip(field_.expected, itertools.count()):
            for number in range(MEMBERS):
                field_.homes[room, f"p{number}"] = field_.posts[(number + turn) % WORKERS]
        stack.push_async_callback(field_.close)
        yield field_
