"""Rooms full of clients that send messages, and the count of what they send and receive; independent of the servers."""

import asyncio
import contextlib
import itertools
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from relay.client import Closed, Envelope, Left, Lost, NotAcknowledged, Options, Room, join
from tests.chaos.ledger import Ledger, Verdict
from tests.fleet import eventually

MEMBERS = 3
"""Members of each room."""
CLIENT = Options(ping_interval=1.0, ping_timeout=1.0, close_timeout=1.0, connect_timeout=15)
SHOWN = 5.0
"""Seconds within which the effect of a fault must be visible."""
SETTLED = 20.0
"""Seconds after which a missing message counts as lost, and a sender gives up."""


class Crowd(ABC):
    """`members` by room and name, and the `ledger` of what they send and receive.

    `expected` holds the members that each room really has. `false_leaves` are leave events about members still
    expected. `unproven` are effects that a fault should have had but did not show: then the round proves nothing.
    `ended` is the time when a fault stopped doing harm, even if its effects were visible for longer. `excused` are the
    members that may be told of a loss.
    """

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.members: dict[tuple[str, str], Room] = {}
        self.watchers: dict[tuple[str, str], Room] = {}
        self.expected: dict[str, set[str]] = {}
        self.false_leaves: list[str] = []
        self.unproven: list[str] = []
        self.patience = SETTLED
        self.excused: set[tuple[str, str]] = set()
        self.ended = 0.0
        self.ledger = Ledger({})
        self._following: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._numbers: itertools.count[int] = itertools.count()
        self._talking: asyncio.Task[None] | None = None

    @property
    @abstractmethod
    def addresses(self) -> Sequence[str]:
        """The addresses of relays for clients."""

    @abstractmethod
    async def disagreeing_lists(self, rooms: Iterable[str]) -> list[str]:
        """The workers whose lists of these rooms differ from `expected`, or show a member as held."""

    async def fill(self, stack: AsyncExitStack, rooms: int, name: str = "room") -> None:
        """Let members join one after the other, each beginning with another address."""
        names = {f"{name}{number}": [f"p{member}" for member in range(MEMBERS)] for number in range(rooms)}
        self.ledger = Ledger({room: iter(peers) for room, peers in names.items()})
        for (room, peers), turn in zip(names.items(), itertools.count()):
            for number, peer in enumerate(peers):
                start = (number + turn) % len(self.addresses)
                urls = [*self.addresses[start:], *self.addresses[:start]]
                client = join(urls, room, peer=peer, presence=True, options=CLIENT)
                self.members[room, peer] = await stack.enter_async_context(client)
                self.enter((room, peer), client)
        await eventually(lambda: not self.disagreements())

    def talk(self, rate: float) -> None:
        """Let members send this many messages a second, all together, until `hush`."""
        self._talking = asyncio.create_task(self._talk(1 / rate))

    async def hush(self) -> None:
        """Stop sending, and wait until every message has arrived or counts as lost."""
        assert self._talking is not None
        self._talking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._talking
        if self._sending:
            await asyncio.wait(self._sending, timeout=self.patience)
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
        """Let one member send one message."""
        task = asyncio.create_task(self._say(room, member, next(self._numbers), size))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _say(self, room: str, member: str, number: int, size: int) -> None:
        self.ledger.said(room, member, number, asyncio.get_running_loop().time())
        with contextlib.suppress(NotAcknowledged, Closed):
            message_id = await self.members[room, member].send(
                {"number": number, "pad": "x" * size}, timeout=self.patience
            )
            self.ledger.acknowledged(room, member, number, message_id)

    def over(self) -> None:
        """The fault does no more harm from now on."""
        self.ended = asyncio.get_running_loop().time()

    async def show(self, effect: str, seen: Callable[[], Any]) -> None:
        """Wait until an effect is seen, or note that it was not."""
        try:
            await eventually(seen, SHOWN)
        except TimeoutError:
            self.unproven.append(effect)

    # Members, and the events that they receive.

    def enter(self, place: tuple[str, str], room: Room) -> None:
        """Add a member, which follows its room from now on."""
        self.expected.setdefault(place[0], set()).add(place[1])
        self.watchers[place] = room
        self._following[place] = asyncio.create_task(self._follow(place, room))

    def leave(self, place: tuple[str, str]) -> None:
        """Remove a member that is about to leave."""
        self.expected[place[0]].discard(place[1])
        del self.watchers[place]
        self._following.pop(place).cancel()

    async def close(self) -> None:
        """Stop following all members."""
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
        """Count all messages; those that a client got twice under one id, and dropped, count as repeated."""
        verdict = self.ledger.verdict(fault_ended)
        return replace(verdict, repeated=verdict.repeated + sum(room.duplicates for room in self.members.values()))

    # Presence.

    def disagreements(self) -> list[str]:
        """Members whose lists differ from the members that are in their room."""
        return [
            f"{member} in {room} sees {sorted(watcher.members)}"
            for (room, member), watcher in self.watchers.items()
            if watcher.members != self.expected[room]
        ]
