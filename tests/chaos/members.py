"""Kinds of members: `relay.client`, and the reference clients of docs/clients, which know the protocol page alone."""

import asyncio
import contextlib
import importlib.util
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from relay.client import Envelope, Event, Lost, NotAcknowledged, Options, join
from relay.model.envelope import BEFORE_ALL, MessageId
from tests.chaos.bosh_members import BoshMember
from tests.chaos.firebase_members import FIREBASE, FirebaseMember
from tests.chaos.http_members import PollMember, StreamMember
from tests.chaos.peerjs_members import PeerJsMember
from tests.chaos.reference import Reference
from tests.chaos.rmc3_members import RmcMember
from tests.chaos.signalr_core_members import CORE_TRANSPORTS, SignalRCoreMember
from tests.chaos.signalr_members import TRANSPORTS, SignalRMember
from tests.chaos.sip_members import SipMember
from tests.chaos.websync_members import WebSyncMember
from tests.chaos.xmpp_members import XmppMember
from tests.fleet import eventually, require

CLIENTS = Path(__file__).parents[2] / "docs" / "clients"
SLOW = 2.5
"""Seconds after which a member gives up an attempt, or a silent connection: longer than the relay lets a join wait."""
CLOSE_TIMEOUT = 1.0


def options(slow: float = SLOW) -> Options:
    """The options of `relay.client` for a member that gives up after `slow` seconds."""
    return Options(ping_interval=slow / 2, ping_timeout=slow / 2, close_timeout=CLOSE_TIMEOUT, connect_timeout=120)


NO_ID = BEFORE_ALL
"""The id of a message of which the client does not show any."""

_HOST = Path(__file__).with_name("members.mjs")
_LINE = 2**24


class Member(Protocol):
    """One client. Events end with `Closed` if the relay refuses it.

    `members` are the peer ids that it sees in its room, None if it is not shown any.
    """

    members: set[str] | None

    @property
    def reconnects(self) -> int:
        """How often the client has come back."""

    @property
    def duplicates(self) -> int:
        """How many messages it got twice."""

    def __aiter__(self) -> AsyncIterator[Event]: ...

    async def send(self, envelope: dict[str, Any], *, timeout: float) -> MessageId | None:
        """Send a message until it is acknowledged."""

    def drop(self) -> None:
        """Lose the connection."""

    async def leave(self) -> None:
        """Leave the room."""


class _AsksForLists:
    """Asks for the member list all the time."""

    _EVERY = 0.2

    async def _write(self: Any) -> None:
        loop = asyncio.get_running_loop()
        asking = loop.create_task(self._ask(self.outgoing))
        try:
            await super()._write()  # type: ignore[misc]
        finally:
            asking.cancel()

    async def _ask(self: Any, outgoing: asyncio.Queue[dict[str, Any]]) -> None:
        while True:
            outgoing.put_nowait({"type": "presence"})
            await asyncio.sleep(self._EVERY)


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("reference_client", CLIENTS / "client.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class PythonReference(Reference):
    """docs/clients/client.py."""

    def __init__(self, urls: Sequence[str], room: str, peer: str, *, slow: float = SLOW, asks: bool = False) -> None:
        super().__init__()
        self._client = (_Asker if asks else _module.Client)(urls, room, peer, self.on_event, slow=slow)
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run())
        await eventually(lambda: self._client.welcomes, 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._running is not None
        await self.leave()
        self._running.cancel()
        await asyncio.wait([self._running])

    async def _run(self) -> None:
        code = await self._client.run()
        self.on_end(code, left=self._client.left)

    def on_event(self, kind: str, value: Any) -> None:
        self.welcomes, self.duplicates = self._client.welcomes, self._client.duplicates
        super().on_event(kind, value)

    async def send(self, envelope: dict[str, Any], *, timeout: float) -> MessageId:
        try:
            return MessageId(*await asyncio.wait_for(self._client.publish(envelope), timeout))
        except (TimeoutError, RuntimeError):
            raise NotAcknowledged(possibly_sent=True) from None

    def drop(self) -> None:
        if self._client.socket:
            self._client.socket.transport.abort()

    async def leave(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._client.leave(), CLOSE_TIMEOUT)


class Node:
    """One process of Node in which JavaScript members run."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._takers: dict[int, Callable[[dict[str, Any]], None]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            require("node"), str(_HOST), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LINE
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._reading is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reading

    def add(self, take: Callable[[dict[str, Any]], None]) -> int:
        """Add a member, whose events go to `take`; return its number."""
        number = next(self._numbers)
        self._takers[number] = take
        return number

    def ask(self, member: int, command: str, **fields: Any) -> None:
        """Give a member a command."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"member": member, "do": command, **fields}).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            event = json.loads(line)
            self._takers[event["member"]](event)


class JavaScriptReference(Reference):
    """docs/clients/client.mjs, in Node."""

    kind = "reference"

    def __init__(self, node: Node, urls: Sequence[str], room: str, peer: str, *, slow: float = SLOW) -> None:
        super().__init__()
        self._node = node
        self._number = node.add(self._take)
        self._sent: dict[int, asyncio.Future[MessageId | None]] = {}
        self._numbers = itertools.count()
        self._left = False
        self._join = {"kind": self.kind, "urls": list(urls), "room": room, "peer": peer, "slow": slow * 1000}

    async def __aenter__(self) -> Self:
        self._node.ask(self._number, "join", **self._join)
        await eventually(lambda: self.welcomes, 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    def _take(self, event: dict[str, Any]) -> None:
        kind, value = event["event"], event.get("value")
        if kind == "state":
            self.welcomes, self.duplicates = event["welcomes"], event["duplicates"]
        elif kind == "answer":
            self._answer(self._sent.pop(event["number"]), event)
        elif kind == "closed":
            self.on_end(event["code"], left=self._left)
        else:
            self.on_event(kind, value)

    @staticmethod
    def _answer(future: asyncio.Future[MessageId | None], event: dict[str, Any]) -> None:
        if future.done():
            return
        if "error" in event:
            future.set_exception(NotAcknowledged(possibly_sent=True))
        else:
            future.set_result(MessageId.parse(event["id"]) if event.get("id") else None)

    async def send(self, envelope: dict[str, Any], *, timeout: float) -> MessageId | None:
        number = next(self._numbers)
        self._sent[number] = asyncio.get_running_loop().create_future()
        self._node.ask(self._number, "publish", number=number, envelope=envelope)
        try:
            return await asyncio.wait_for(self._sent[number], timeout)
        except TimeoutError:
            raise NotAcknowledged(possibly_sent=True) from None

    def drop(self) -> None:
        self._node.ask(self._number, "drop")

    async def leave(self) -> None:
        self._left = True
        self._node.ask(self._number, "leave")


class SocketIo(JavaScriptReference):
    """A client of Socket.IO 4 with the option `retries`: it knows one worker, sees no members and no ids.

    `on_rename` is called with its old and its new peer id when it came back as another member.
    """

    kind = "socketio"

    def __init__(self, node: Node, urls: Sequence[str], room: str, peer: str, *, slow: float = SLOW) -> None:
        super().__init__(node, urls, room, peer, slow=slow)
        self.members = None
        self.peer = ""
        self.on_rename: Callable[[str, str], None] = lambda _old, _new: None

    def on_event(self, kind: str, value: Any) -> None:
        if kind == "identity":
            old, self.peer = self.peer, value["peer"]
            if old and not value["recovered"]:
                self.on_rename(old, self.peer)
                self._events.put_nowait(Lost("not recovered"))
        elif kind == "message":
            self._events.put_nowait(Envelope(NO_ID, "", value))


OVER_HTTP = {"http-stream": StreamMember, "http-poll": PollMember}
_OF_ONE_KIND: Mapping[str, Callable[..., Any]] = {
    "bosh": BoshMember,
    "peerjs": PeerJsMember,
    "sip": SipMember,
    "websync": WebSyncMember,
    "xmpp": XmppMember,
}
RMC = {"rmc3": True, "rmc3-old": False}
"""Pages of RTCMultiConnection, and whether they bring a private id."""

IN_PYTHON = frozenset(
    {
        "relay.client",
        "python",
        "asker",
        *_OF_ONE_KIND,
        *RMC,
        *FIREBASE,
        *OVER_HTTP,
        *TRANSPORTS,
        *CORE_TRANSPORTS,
    }
)
"""Kinds that need no Node."""

DIRECT = frozenset({"peerjs", "sip", *RMC, *CORE_TRANSPORTS})
"""Kinds that have no cursor: the relay must see how much has reached them."""


def make(kind: str, node: Node, urls: Sequence[str], room: str, peer: str, *, slow: float = SLOW) -> Any:
    """A member of a kind, as an asynchronous context manager."""
    if kind == "relay.client":
        return join(list(urls), room, peer=peer, presence=True, options=options(slow))
    if kind in OVER_HTTP:
        return OVER_HTTP[kind](urls, room, peer, slow=slow)
    if kind in TRANSPORTS:
        return SignalRMember(urls, room, peer, slow=slow, transport=TRANSPORTS[kind])
    if kind in CORE_TRANSPORTS:
        return SignalRCoreMember(urls, room, peer, slow=slow, transport=CORE_TRANSPORTS[kind])
    if kind in FIREBASE:
        return FirebaseMember(urls, room, peer, slow=slow, polls=FIREBASE[kind])
    if kind in _OF_ONE_KIND:
        return _OF_ONE_KIND[kind](urls, room, peer, slow=slow)
    if kind in RMC:
        return RmcMember(urls, room, peer, slow=slow, brings_pid=RMC[kind])
    if kind in {"python", "asker"}:
        return PythonReference(urls, room, peer, slow=slow, asks=kind == "asker")
    return (SocketIo if kind == "socketio" else JavaScriptReference)(node, urls, room, peer, slow=slow)


_module = _load()
_Asker = type("_Asker", (_AsksForLists, _module.Client), {})
