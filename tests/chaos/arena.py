"""Three workers, a Redis that keeps its data, a network that breaks where it is told to, and rooms full of clients."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from relay.client import Closed, Envelope, Left, Lost, NotAcknowledged, Options, Room, join
from tests.chaos.ledger import Ledger, Verdict
from tests.chaos.network import Network
from tests.fleet import RedisServer, Relay, eventually

WORKERS = 3
SETTINGS: dict[str, Any] = {
    "lease": 1.5,
    "grace": 4.0,
    "probe_interval": 1.0,
    "publish_timeout": 2.0,
    "drain_timeout": 3.0,
    "send_buffer": 262_144,
    "message_rate": 2000,
    "message_burst": 4000,
}
CLIENT = Options(ping_interval=1.0, ping_timeout=1.0, close_timeout=1.0, connect_timeout=15)
LONGER = max(SETTINGS["lease"], SETTINGS["grace"])
SHOWN = 5.0
"""Seconds within which a fault has to show an effect."""
SETTLED = 20.0
"""Seconds after which whatever is still missing is lost."""


@dataclass
class Post:
    """One worker, the network between it and Redis, and the one between its clients and it."""

    back: Network
    front: Network
    relay: Relay
    environment: dict[str, str] = field(default_factory=dict)

    async def start(self) -> None:
        """Start the worker again, on the port it had."""
        self.relay.close()
        port = self.relay.port
        self.relay = Relay(
            redis=f"redis://127.0.0.1:{self.back.port}", port=port, environment=self.environment, **SETTINGS
        )
        await self.relay.ready()


class Arena:
    """The field: `posts`, `redis`, `members` by room and name, and the `ledger` of what they say and hear.

    `expected` is who is in each room in truth, `homes` the workers that members came to first; `false_leaves` are
    those that members were told of while who was said to have left was expected. `unproven` are effects that a fault
    should have had and did not show: then it did not strike, and proves nothing. `ended` is when a fault did no more
    harm, whatever was still to be seen of it then; `excused` are those who may be told of a loss.
    """

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.redis = RedisServer(persistent=True)
        self.posts: list[Post] = []
        self.members: dict[tuple[str, str], Room] = {}
        self.watchers: dict[tuple[str, str], Room] = {}
        self.expected: dict[str, set[str]] = {}
        self.homes: dict[tuple[str, str], Post] = {}
        self.false_leaves: list[str] = []
        self.unproven: list[str] = []
        self.excused: set[tuple[str, str]] = set()
        self.ended = 0.0
        self.ledger = Ledger({})
        self._following: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._numbers: itertools.count[int] = itertools.count()
        self._talking: asyncio.Task[None] | None = None

    @property
    def post(self) -> Post:
        """One of the workers, at random."""
        return self.draw.choice(self.posts)

    def url(self, post: Post) -> str:
        """Where clients reach a worker."""
        return f"ws://127.0.0.1:{post.front.port}"

    def talk(self, rate: float) -> None:
        """Let members say so many messages a second, all together, until `hush`."""
        self._talking = asyncio.create_task(self._talk(1 / rate))

    async def hush(self) -> None:
        """Say nothing more, and wait until all that was said has arrived, or is lost."""
        assert self._talking is not None
        self._talking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._talking
        if self._sending:
            await asyncio.wait(self._sending, timeout=SETTLED)
        with contextlib.suppress(TimeoutError):
            await eventually(lambda: not self.ledger.missing(), SETTLED)

    async def _talk(self, interval: float) -> None:
        places = list(self.members)
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            room, member = self.draw.choice(places)
            self.say(room, member)
            due += interval
            await asyncio.sleep(max(0.0, due - loop.time()))

    def say(self, room: str, member: str, size: int = 200) -> None:
        """Let one member say one thing."""
        task = asyncio.create_task(self._say(room, member, next(self._numbers), size))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _say(self, room: str, member: str, number: int, size: int) -> None:
        self.ledger.said(room, member, number, asyncio.get_running_loop().time())
        with contextlib.suppress(NotAcknowledged, Closed):
            place = await self.members[room, member].send({"number": number, "pad": "x" * size}, timeout=SETTLED)
            self.ledger.acknowledged(room, member, number, place)

    def over(self) -> None:
        """The fault does no more harm from now on."""
        self.ended = asyncio.get_running_loop().time()

    async def show(self, effect: str, seen: Callable[[], Any]) -> None:
        """Wait until an effect is seen, or note that it was not."""
        try:
            await eventually(seen, SHOWN)
        except TimeoutError:
            self.unproven.append(effect)

    # Who is there, and what they hear.

    def enter(self, place: tuple[str, str], room: Room) -> None:
        """Somebody is in a room from now on, and follows it."""
        self.expected.setdefault(place[0], set()).add(place[1])
        self.watchers[place] = room
        self._following[place] = asyncio.create_task(self._follow(place, room))

    def leave(self, place: tuple[str, str]) -> None:
        """Somebody is about to go."""
        self.expected[place[0]].discard(place[1])
        del self.watchers[place]
        self._following.pop(place).cancel()

    async def close(self) -> None:
        """Follow nobody any more."""
        for task in self._following.values():
            task.cancel()
        await asyncio.gather(*self._following.values(), return_exceptions=True)

    async def _follow(self, place: tuple[str, str], room: Room) -> None:
        clock = asyncio.get_running_loop().time
        name, member = place
        with contextlib.suppress(Closed):
            async for event in room:
                if isinstance(event, Left) and event.peer in self.expected[name]:
                    self.false_leaves.append(f"{member} in {name} was told that {event.peer} had left")
                if place not in self.members:
                    continue
                if isinstance(event, Envelope):
                    self.ledger.heard(name, member, event.sender, event.data["number"], event.id, clock())
                elif isinstance(event, Lost):
                    self.ledger.told(name, member, clock())

    def verdict(self, fault_ended: float) -> Verdict:
        """Count everything; what clients were sent twice under one id, and dropped, was repeated as well."""
        verdict = self.ledger.verdict(fault_ended)
        return replace(verdict, repeated=verdict.repeated + sum(room.duplicates for room in self.members.values()))

    # Presence.

    def disagreements(self) -> list[str]:
        """Members who believe that others are in their room than are."""
        return [
            f"{member} in {room} sees {sorted(watcher.members)}"
            for (room, member), watcher in self.watchers.items()
            if watcher.members != self.expected[room]
        ]

    async def disagreeing_lists(self, rooms: Iterable[str]) -> list[str]:
        """Workers who list others than are in these rooms, or somebody as held."""
        wrong = []
        for room, post in itertools.product(rooms, self.posts):
            answer = (await post.relay.get(f"/rooms/{room}")).json()
            listed = {(one["peer"], one.get("held", False)) for one in answer["members"]}
            if listed != {(name, False) for name in self.expected[room]}:
                wrong.append(f"a worker lists {sorted(listed)} in {room}")
        return wrong


@asynccontextmanager
async def arena(*, seed: int, rooms: int, fake_time: dict[str, str] | None = None) -> AsyncIterator[Arena]:
    """Everything running, everybody in; the last worker runs with `fake_time` in its environment."""
    field_ = Arena(seed)
    async with AsyncExitStack() as stack:
        stack.callback(field_.redis.close)
        field_.redis.start()
        for number in range(WORKERS):
            environment = (fake_time or {}) if number == WORKERS - 1 else {}
            back = await stack.enter_async_context(Network(field_.redis.port))
            relay = Relay(redis=f"redis://127.0.0.1:{back.port}", environment=environment, **SETTINGS)
            front = await stack.enter_async_context(Network(relay.port))
            post = Post(back, front, relay, environment)
            field_.posts.append(post)
            stack.callback(lambda post=post: post.relay.close())
        for post in field_.posts:
            await post.relay.ready()
        await _fill(field_, stack, rooms)
        stack.push_async_callback(field_.close)
        yield field_


async def _fill(field_: Arena, stack: AsyncExitStack, rooms: int) -> None:
    names = {f"room{number}": [f"p{member}" for member in range(WORKERS)] for number in range(rooms)}
    field_.ledger = Ledger({room: iter(peers) for room, peers in names.items()})
    for (room, peers), turn in zip(names.items(), itertools.count()):
        for number, peer in enumerate(peers):
            start = (number + turn) % WORKERS
            urls = [field_.url(field_.posts[(start + step) % WORKERS]) for step in range(WORKERS)]
            client = join(urls, room, peer=peer, presence=True, options=CLIENT)
            field_.members[room, peer] = await stack.enter_async_context(client)
            field_.homes[room, peer] = field_.posts[start]
            field_.enter((room, peer), client)
    await eventually(lambda: not field_.disagreements())
