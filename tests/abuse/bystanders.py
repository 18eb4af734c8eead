"""Clients that have nothing to do with an attack, and the counts of their messages."""

import asyncio
import contextlib
import itertools
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from websockets.exceptions import WebSocketException

from relay.model.envelope import MessageId
from tests.chaos.ledger import Ledger
from tests.fleet import Client, Relay, eventually
from tests.integration.socketio import OverWebSocket

ADDRESS: Final = "127.0.0.2"
RATE: Final = 4.0
"""Messages a second from each member."""
PADDING: Final = "candidate:1 1 udp 2130706431 192.0.2.1 54321 typ host " * 4
_EVERY_OTHER_WORKER: Final = 3
_EVERY_SOCKETIO: Final = 2
_PAUSE: Final = 0.5
_SLOW: Final = 10.0
_CANCELLED: Final = 2.0
_FAILED = (OSError, EOFError, TimeoutError, AssertionError, ValueError, WebSocketException)

Take = Callable[[dict[str, Any]], None]


class Bystander(ABC):
    """A member of a room that comes back after each loss of its connection.

    `closes` counts these losses, `errors` the errors that the relay sends, by their codes.
    """

    def __init__(self, relay: Relay, room: str, name: str, take: Take) -> None:
        self.room = room
        self.name = name
        self.joined = asyncio.Event()
        self.closes: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._relay = relay
        self._take = take

    async def run(self) -> None:
        """Stay in the room until it is cancelled."""
        while True:
            try:
                async with asyncio.timeout(_SLOW):
                    await self.join()
                self.joined.set()
                while True:
                    self._take(await self.next())
            except _FAILED as error:
                if self.joined.is_set():
                    self.closes[type(error).__name__] += 1
            finally:
                self.joined.clear()
                self.lose()
            await asyncio.sleep(_PAUSE)

    @abstractmethod
    async def join(self) -> None:
        """Connect, and join the room."""

    @abstractmethod
    async def say(self, message: dict[str, Any]) -> None:
        """Send one message."""

    @abstractmethod
    async def next(self) -> dict[str, Any]:
        """Return the next message."""

    @abstractmethod
    def lose(self) -> None:
        """Abort the connection, if there is one."""


class Native(Bystander):
    """A bystander with the native protocol."""

    _client: Client | None = None

    async def join(self) -> None:
        url = f"{self._relay.ws}/rooms/{self.room}?peer={self.name}"
        self._client = await Client.open(url, local_addr=(ADDRESS, 0))
        if self._client.welcome.get("type") != "welcome":
            raise EOFError(str(self._client.welcome))

    async def say(self, message: dict[str, Any]) -> None:
        assert self._client is not None
        await self._client.send(message)

    async def next(self) -> dict[str, Any]:
        assert self._client is not None
        while "number" not in (message := json.loads(await self._client.socket.recv())):
            if message.get("type") == "error":
                self.errors[message["code"]] += 1
        return message

    def lose(self) -> None:
        if self._client is not None:
            self._client.lose()


class SocketIo(Bystander):
    """A bystander with Socket.IO 4 over WebSocket."""

    _client: OverWebSocket | None = None

    async def join(self) -> None:
        self._client = await OverWebSocket.open(self._relay, f"/rooms/{self.room}", local_addr=(ADDRESS, 0))
        await self._client.enter()

    async def say(self, message: dict[str, Any]) -> None:
        assert self._client is not None
        await self._client.emit("message", message)

    async def next(self) -> dict[str, Any]:
        assert self._client is not None
        head = f"42{self._client.prefix}"
        while True:
            packet = await self._client.socket.recv()
            if packet == "2":
                await self._client.send("3")
            elif isinstance(packet, str) and packet.startswith(head):
                [name, *values] = json.loads(packet.removeprefix(head))
                if name == "message":
                    return values[0]
                if name == "error":
                    self.errors[values[0]["code"]] += 1

    def lose(self) -> None:
        if self._client is not None:
            self._client.lose()


@dataclass
class Newcomers:
    """Clients of the bystanders' address, each of which joins a new room of its own; times in seconds."""

    joined: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    async def arrive(self, relay: Relay, every: float = 1.0) -> None:
        """Let one come each second until it is cancelled."""
        async with asyncio.TaskGroup() as coming:
            for number in itertools.count():
                coming.create_task(self._join(relay, number))
                await asyncio.sleep(every)

    async def _join(self, relay: Relay, number: int) -> None:
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(_SLOW):
                client = await Client.open(f"{relay.ws}/rooms/new-{number}", local_addr=(ADDRESS, 0))
        except _FAILED as error:
            self.refused[str(error) or type(error).__name__] += 1
            return
        if client.welcome.get("type") == "welcome":
            self.joined.append(asyncio.get_running_loop().time() - began)
        else:
            self.refused[client.welcome.get("code", "")] += 1
        client.lose()


class Crowd:
    """Rooms of two on the attacked worker; the second member of every third room is on the other worker.

    Every other room has a member with Socket.IO. All send `RATE` messages a second while they `talk`.
    """

    def __init__(self, attacked: Relay, other: Relay, rooms: int) -> None:
        names = {f"calm-{number}": ["ann", "ben"] for number in range(rooms)}
        self.ledger = Ledger({room: iter(peers) for room, peers in names.items()})
        self.members: list[Bystander] = []
        for number, room in enumerate(names):
            away = other if number % _EVERY_OTHER_WORKER == 0 else attacked
            kind = SocketIo if number % _EVERY_SOCKETIO == 0 else Native
            self.members.append(Native(attacked, room, "ann", self._heard(room, "ann")))
            self.members.append(kind(away, room, "ben", self._heard(room, "ben")))
        self.unsent = 0

    @property
    def closes(self) -> Counter[str]:
        """How often a member lost its connection, by the kind of error."""
        return sum((member.closes for member in self.members), Counter[str]())

    @property
    def errors(self) -> Counter[str]:
        """How often the relay told a member of an error, a lost message among them, by its code."""
        return sum((member.errors for member in self.members), Counter[str]())

    def _heard(self, room: str, member: str) -> Take:
        def take(message: dict[str, Any]) -> None:
            now = asyncio.get_running_loop().time()
            # Clients of Socket.IO show no ids.
            id_ = MessageId.parse(message["id"]) if "id" in message else None
            self.ledger.heard(room, member, message["by"], message["number"], id_, now)

        return take

    async def talk(self) -> None:
        """Let all members send until it is cancelled, each at its own times."""
        async with asyncio.TaskGroup() as talking:
            for number, member in enumerate(self.members):
                talking.create_task(self._talk(member, number / len(self.members) / RATE))

    async def _talk(self, member: Bystander, delay: float) -> None:
        clock = asyncio.get_running_loop().time
        due = clock() + delay
        for number in itertools.count():
            await asyncio.sleep(max(0.0, due - clock()))
            due += 1 / RATE
            # A message that a client without a connection cannot send is lost for its user, too.
            self.ledger.said(member.room, member.name, number, clock())
            self.ledger.acknowledged(member.room, member.name, number, None)
            try:
                await member.say({"by": member.name, "number": number, "pad": PADDING})
            except (*_FAILED, AttributeError):
                self.unsent += 1

    async def settle(self, within: float) -> None:
        """Wait until all messages have arrived, at most for this time."""
        with contextlib.suppress(TimeoutError):
            await eventually(lambda: not self.ledger.missing(), within)


@asynccontextmanager
async def crowd(attacked: Relay, other: Relay, rooms: int) -> AsyncIterator[Crowd]:
    """A crowd with all members joined."""
    one = Crowd(attacked, other, rooms)
    async with background(*(member.run for member in one.members)):
        for member in one.members:
            async with asyncio.timeout(_SLOW * 3):
                await member.joined.wait()
        yield one


@asynccontextmanager
async def background(*jobs: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run endless jobs beside the body of the context; the error of one is raised when the body has ended."""
    tasks = {asyncio.create_task(job()) for job in jobs}
    try:
        yield
    finally:
        pending = tasks
        while pending:
            # A library may swallow a cancellation.
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=_CANCELLED)
    for task in tasks:
        if not task.cancelled():
            task.result()
