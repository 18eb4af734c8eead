"""The interfaces of applications, and the keys that connect an answer with the client's packet.

There are two kinds. Clients of an `Application` enter the room of their namespace at once, and their application has no
state. A `StatefulApplication` has an `ApplicationClient` for each client, which is connected in no room, and enters and
leaves rooms as the client asks.
"""

import re
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from relay.gateways.base.join_request import JoinRequest
from relay.gateways.socketio.encoders import OutgoingEvent
from relay.gateways.socketio.parser import IncomingEvent
from relay.identity.grants import Grants
from relay.model.commands import Command, Publish
from relay.model.envelope import Receipt
from relay.model.errors import RelayError
from relay.model.events import Event, Welcome
from relay.rooms.worker import Worker

_REPLY_KEY: Final = re.compile(r"([a-z]+):(\d*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The answer to the client's packet with this number: the arguments of its callback."""

    number: str
    values: Sequence[object]


OutgoingPacket = OutgoingEvent | Acknowledgement


class Application(Protocol):
    """The meaning of the events of one kind of clients, which share it; does no I/O.

    `packets` depends only on the event: members whose applications have the same key share its frames.
    """

    @property
    def key(self) -> str:
        """Applications with the same key write every event alike; "" is the relay's own."""
        ...

    # For the cache of codecs: mypy takes a protocol without this method for unhashable.
    def __hash__(self) -> int:
        """Return the hash of the object."""
        ...

    def command(self, event: IncomingEvent) -> Command:
        """Read an event that a client has emitted; raises `BadFrame`."""
        ...

    def packets(self, event: Event) -> Sequence[OutgoingPacket]:
        """Write an event of the relay.

        The codec itself accepts or refuses a client in its namespace. It asks for the packets of a `Welcome` after
        that: the client gets these unasked when it connects.
        """
        ...


@dataclass(frozen=True, slots=True)
class Handshake:
    """The data with which a client connected to a namespace.

    `query` is that of its first request if the application recognises clients by it, and else empty. `auth` is the
    object of its packet CONNECT with each value as JSON, empty before version 3. `sid` is the id of the Engine.IO
    session: a client that knows it can poll in its place. `origin` is that of its page, "" for none; `address` the one
    under which it is counted.
    """

    namespace: str
    query: Mapping[str, str]
    auth: Mapping[str, bytes]
    sid: str = field(repr=False)
    origin: str
    address: str


class Opened(NamedTuple):
    """The ids with which a client is accepted in its namespace; without a `private_id`, it does not recover."""

    peer: str
    private_id: str = ""


PublishOutcome = Callable[[Receipt | RelayError], None]
"""Takes the receipt of a message, or the error."""


class ClientPort(Protocol):
    """The abilities of an `ApplicationClient`: it writes packets, enters and leaves one room, publishes there.

    Each call that concerns a room is checked against the client's token, and counts against its limits.
    """

    @property
    def worker(self) -> Worker:
        """The worker, which knows the members and the rules of rooms."""
        ...

    @property
    def handshake(self) -> Handshake:
        """The data with which the client connected."""
        ...

    @property
    def grants(self) -> Grants | None:
        """The rights of the client's token; None where auth is off."""
        ...

    def sees(self, room: str) -> bool:
        """Return whether the client's token lets it know that a room exists."""
        ...

    def sees_members(self, room: str) -> bool:
        """Return whether the client's token lets it know who is in a room."""
        ...

    @property
    def room(self) -> str:
        """The escaped name of the room that the client is in; "" for none."""
        ...

    @property
    def peer(self) -> str:
        """The client's peer id there."""
        ...

    def emit(self, name: str, *values: object) -> None:
        """Send the client an event; a value may be `msgspec.Raw`."""
        ...

    def acknowledge(self, number: str, *values: object) -> None:
        """Call the client's callback of the packet with this number; nothing for "", a packet without a callback."""
        ...

    async def enter_room(self, request: JoinRequest) -> Welcome:
        """Enter a room; the client must be in none. Raises as `JoinedRooms.enter` does, and is in no room then.

        Events of the room may be delivered before this returns.
        """
        ...

    async def leave_room(self) -> None:
        """Leave the room, if the client is in one; returns when Redis has been asked."""
        ...

    async def rename(
        self, request: JoinRequest, farewell: Publish, before_leaving: Callable[[], Awaitable[None]]
    ) -> None:
        """Take another peer id in the room: join it anew, and leave it under the one before.

        While the client has both, the `farewell` is published with the peer id before, and then `before_leaving` is
        called; other messages of the client have the new one. Raises as `enter_room`, `published` and `before_leaving`
        do; the client goes on with the peer id before then.
        """
        ...

    def list_room(self, name: str) -> None:
        """Record the room in `Worker.listings` under a name, for as long as the client is in it."""
        ...

    def charge(self, messages: float) -> None:
        """Count a request of the client as so many messages, beside its event."""
        ...

    async def change_info(self, info: bytes) -> None:
        """Change the client's member info; raises as `Worker.change_info` does."""
        ...

    def publish(self, command: Publish, done: PublishOutcome | None = None) -> None:
        """Publish a message in the room; `done` is called with the outcome, maybe at once."""
        ...

    async def published(self, command: Publish) -> None:
        """Publish a message in the room, and wait until it is; raises `RelayError` if it is not, or may not be."""
        ...

    async def refresh(self, token: str) -> float | None:
        """Go on with a newer token; returns the Unix time of its end, None if it has none.

        Raises `Refused` for a token with which no client may come in, and for that of another subject.
        """
        ...

    def announce_sid(self) -> None:
        """Take note that other clients learn the `sid`: it then proves a client that polls only at its own address.

        A client whose address changes while it polls connects anew.
        """
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work that no event of the client waits for; an error in it closes the connection."""
        ...

    def disconnect(self) -> None:
        """End the client's session in its namespace for good, with a DISCONNECT packet."""
        ...


class ApplicationClient(Protocol):
    """One client of a `StatefulApplication`. Its calls never overlap, but for `deliver` and `ended`."""

    async def open(self) -> Opened:
        """Decide whether the client may connect, before anything is sent to it; raises `RelayError` if it may not."""
        ...

    async def opened(self) -> None:
        """Go on after the client was accepted. Events that it has sent wait until this returns."""
        ...

    def received(self, event: IncomingEvent) -> Coroutine[Any, Any, None] | None:
        """Serve an event of the client: at once, or by the coroutine, until whose end later events wait.

        A `RelayError` that is raised comes back as a `Failure` to `deliver`. Its key is that of the event (`reply_to`).
        """
        ...

    def deliver(self, event: Event) -> bool:
        """Take an event of the relay; True to have the application's packets of it written.

        The packets are made once for all clients of the application in one namespace. Called while the hub delivers to
        a room: may write and publish, but must not change any room.
        """
        ...

    def ended(self, *, goodbye: bool) -> None:
        """Release all that the client holds; nothing is written to it any more. The session ends its membership."""
        ...


@runtime_checkable
class StatefulApplication(Protocol):
    """The meaning of the events of clients that enter rooms by events of their own."""

    @property
    def key(self) -> str:
        """As in `Application`, whose keys it differs from."""
        ...

    def __hash__(self) -> int:
        """Return the hash of the object."""
        ...

    @property
    def namespaces(self) -> Collection[str]:
        """The namespaces in which it serves all clients, but those that another application recognises."""
        ...

    def recognises(self, query: Mapping[str, str]) -> bool:
        """Return whether it serves a client with this query, in every namespace."""
        ...

    def client(self, port: ClientPort) -> ApplicationClient:
        """Make the state of a client that connects."""
        ...

    def packets(self, event: Event) -> Sequence[OutgoingPacket]:
        """Write an event of the relay alike for each client whose `deliver` says so."""
        ...


class ReplyTo(NamedTuple):
    """The packet of a client that an event of the relay answers: its request, and its number ("" for none)."""

    request: str
    number: str

    @property
    def key(self) -> str:
        """The key of the command, which its answer has, too."""
        return f"{self.request}:{self.number}"


def reply_to(key: str) -> ReplyTo | None:
    """Read the key of an event; None if no command of a client had it."""
    found = _REPLY_KEY.fullmatch(key)
    return None if found is None else ReplyTo(found[1], found[2])
