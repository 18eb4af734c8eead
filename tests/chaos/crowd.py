"""Rooms full of clients that send messages, and the count of sent and received ones; independent of the servers."""

import asyncio
import contextlib
import itertools
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from relay.client import Closed, Envelope, Event, Interrupted, Left, Lost, NotAcknowledged
from tests.chaos.firebase_members import FirebaseMember
from tests.chaos.ledger import Ledger, Verdict
from tests.chaos.members import DIRECT, IN_PYTHON, NO_ID, SLOW, Member, Node, SocketIo, make
from tests.chaos.reference import Reference
from tests.fleet import eventually

MEMBERS = 3
"""Members of each room."""
SHOWN = 5.0
"""Seconds within which the effect of a fault must be visible."""
_NOTICED = 1.0
"""Seconds within which a page notices that its connection has ended: the others may be told of it before."""
SETTLED = 20.0
"""Seconds after which a missing message counts as lost, and a sender gives up."""


class Crowd(ABC):
    """`members` by room and name, and the `ledger` of the messages that they send and receive.

    `expected` holds the members that each room really has. `false_leaves` are leave events about members still
    expected. `unproven` are effects that a fault should have had but did not show: then the round proves nothing.
    `ended` is the time when a fault stopped doing harm, even if its effects were visible for longer. `excused` are the
    members that may be told of a loss. `locked_out` are members that the relay refused, or whose connection it closed
    in favour of another one, although each has no other. `intruders` came into locked rooms. Members of `silent_rooms`
    send nothing. `kinds` are the clients, by turns, room after room; each gives an attempt up after `slow` seconds.
    """

    kinds: Sequence[str] = ("relay.client",)
    slow: float = SLOW

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.node = Node()
        self.members: dict[tuple[str, str], Member] = {}
        self.watchers: dict[tuple[str, str], Member] = {}
        self.expected: dict[str, set[str]] = {}
        self.false_leaves: list[str] = []
        self.locked_out: list[str] = []
        self.intruders: list[str] = []
        self.silent_rooms: set[str] = set()
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

    @property
    def direct_addresses(self) -> Sequence[str]:
        """The addresses for clients of which the relay must see how much has reached them: without a network."""
        return self.addresses

    @abstractmethod
    async def disagreeing_lists(self, rooms: Iterable[str]) -> list[str]:
        """The workers whose lists of these rooms differ from `expected`, or show a member as held."""

    async def fill(self, stack: AsyncExitStack, rooms: int, name: str = "room") -> None:
        """Let members join one after the other, each beginning with another address."""
        names = {f"{name}{number}": [f"p{member}" for member in range(MEMBERS)] for number in range(rooms)}
        self.ledger = Ledger({room: iter(peers) for room, peers in names.items()})
        if set(self.kinds) - IN_PYTHON:
            await stack.enter_async_context(self.node)
        for (room, peers), turn in zip(names.items(), itertools.count()):
            for number, peer in enumerate(peers):
                start = (number + turn) % len(self.addresses)
                kind = self.kinds[(MEMBERS * turn + number) % len(self.kinds)]
                known = self.direct_addresses if kind in DIRECT else self.addresses
                client = make(kind, self.node, [*known[start:], *known[:start]], room, peer, slow=self.slow)
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
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            room, member = self.draw.choice(list(self.members))
            if room not in self.silent_rooms:
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
                {"number": number, "by": member, "pad": "x" * size}, timeout=self.patience
            )
            self.ledger.acknowledged(room, member, number, message_id)

    def silence(self, rooms: Iterable[str]) -> None:
        """Let members of these rooms say nothing from now on, and those of all others speak."""
        self.silent_rooms = set(rooms)

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

    def enter(self, place: tuple[str, str], room: Member) -> None:
        """Add a member, which follows its room from now on."""
        expected = self.expected.setdefault(place[0], set())
        if isinstance(room, SocketIo | FirebaseMember):
            expected.add(room.peer)
            room.on_rename = lambda old, new: (expected.discard(old), new and expected.add(new))
        else:
            expected.add(place[1])
        self.watchers[place] = room
        self._following[place] = asyncio.create_task(self._follow(place, room))

    def leave(self, place: tuple[str, str]) -> None:
        """Remove a member that is about to leave."""
        self.expected[place[0]].discard(place[1])
        del self.watchers[place]
        self._following.pop(place).cancel()

    async def close(self) -> None:
        """Stop following all members, and let none of them say more: their connections are about to end."""
        tasks = [*self._following.values(), *self._sending, *([self._talking] if self._talking else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, place: tuple[str, str], room: Member) -> None:
        try:
            async for event in room:
                self._take(place, event)
        except Closed as closed:
            if place in self.watchers:
                self.locked_out.append(f"{place[1]} in {place[0]} was closed for good: {closed.code}")

    def _take(self, place: tuple[str, str], event: Event) -> None:
        now = asyncio.get_running_loop().time()
        name, member = place
        if isinstance(event, Left) and event.peer in self.expected[name]:
            self._doubt(f"{member} in {name} was told that {event.peer} had left", name, event.peer)
        if isinstance(event, Interrupted) and event.code == "replaced":
            self.locked_out.append(f"{member} in {name} lost its connection to an attempt of its own")
        if place not in self.members:
            return
        if isinstance(event, Envelope):
            if "number" in event.data:
                self.ledger.heard(
                    name, member, event.data["by"], event.data["number"], None if event.id == NO_ID else event.id, now
                )
        elif isinstance(event, Lost):
            self.ledger.told(name, member, now)

    def _doubt(self, told: str, room: str, peer: str) -> None:
        """Note a leave of a member as false; that of a page only if the page does not find soon that it is lost."""
        pages = {
            one.peer for (name, _), one in self.watchers.items() if isinstance(one, FirebaseMember) and name == room
        }
        if peer not in pages:
            self.false_leaves.append(told)
            return

        def look() -> None:
            if peer in self.expected[room]:
                self.false_leaves.append(told)

        asyncio.get_running_loop().call_later(_NOTICED, look)

    def verdict(self, fault_ended: float) -> Verdict:
        """Count all messages; those that a client got twice under one id, and dropped, count as repeated."""
        verdict = self.ledger.verdict(fault_ended, self.excused)
        repeated = verdict.repeated + sum(room.duplicates for room in self.members.values())
        references = [room for room in self.members.values() if isinstance(room, Reference)]
        disordered = verdict.disordered + sum(room.disordered for room in references)
        again = [one for room in references for one in room.again]
        oldest = max(again, default=0.0)
        return replace(verdict, repeated=repeated, disordered=disordered, again=len(again), oldest_again=oldest)

    # Presence.

    def disagreements(self) -> list[str]:
        """Members whose lists differ from the members that are in their room."""
        wrong = [
            f"{member} in {room} sees {sorted(watcher.members)}, not {sorted(self.expected[room])}"
            for (room, member), watcher in self.watchers.items()
            if watcher.members is not None and watcher.members != self.expected[room]
        ]
        return wrong + self._wrong_places()

    def _wrong_places(self) -> list[str]:
        """Pages of Firebase that see other places than those of the pages in their room."""
        pages = [(place, page) for place, page in self.watchers.items() if isinstance(page, FirebaseMember)]
        shown: dict[str, set[str]] = {}
        for (room, name), _ in pages:
            shown.setdefault(room, set()).add(name)
        return [
            f"{name} in {room} sees the places of {sorted(page.places)}, not {sorted(shown[room])}"
            for (room, name), page in pages
            if page.places != shown[room]
        ]

    async def ghosts(self) -> set[tuple[str, str]]:
        """The members that somebody still sees in a room, although they are not there: room and peer id."""
        return {
            (room, peer)
            for (room, _), watcher in self.watchers.items()
            for peer in (watcher.members or set()) - self.expected[room]
        }
