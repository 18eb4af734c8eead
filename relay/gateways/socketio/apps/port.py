"""The abilities that an application has with one client, each part an interface of its own.

Each call that concerns a room is checked against the client's token, and counts against its limits.
"""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from relay.gateways.base.join_request import JoinRequest
from relay.identity.grants import Grants
from relay.model.commands import Publish
from relay.model.errors import RelayError
from relay.model.events import Welcome
from relay.model.publication import Receipt
from relay.rooms.worker import Worker

PublishOutcome = Callable[[Receipt | RelayError], None]
"""Takes the receipt of a message, or the error."""


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


class ClientSocket(Protocol):
    """The client's connection in its namespace."""

    def emit(self, name: str, *values: object) -> None:
        """Send the client an event; a value may be `msgspec.Raw`."""
        ...

    def acknowledge(self, number: str, *values: object) -> None:
        """Call the client's callback of the packet with this number; nothing for "", a packet without a callback."""
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


class RoomMembership(Protocol):
    """The one room that the client is in, or none."""

    @property
    def room(self) -> str:
        """The escaped name of the room; "" for none."""
        ...

    @property
    def peer(self) -> str:
        """The client's peer id there."""
        ...

    async def enter(self, request: JoinRequest) -> Welcome:
        """Enter a room; the client must be in none. Raises as `JoinedRooms.enter` does, and is in no room then.

        Events of the room may be delivered before this returns.
        """
        ...

    async def leave(self) -> None:
        """Leave the room, if the client is in one; returns when Redis has been asked."""
        ...

    async def rename(
        self, request: JoinRequest, farewell: Publish, before_leaving: Callable[[], Awaitable[None]]
    ) -> None:
        """Take another peer id in the room: join it anew, and leave it under the one before.

        While the client has both, the `farewell` is published with the peer id before, and then `before_leaving` is
        called; other messages of the client have the new one. Raises as `enter`, `MessagePublisher.published` and
        `before_leaving` do; the client goes on with the peer id before then.
        """
        ...


class MessagePublisher(Protocol):
    """Publishes messages of the client in its room."""

    def publish(self, command: Publish, done: PublishOutcome | None = None) -> None:
        """Publish a message; `done` is called with the outcome, maybe at once."""
        ...

    async def published(self, command: Publish) -> None:
        """Publish a message, and wait until it is; raises `RelayError` if it is not, or may not be."""
        ...


class MemberPresence(Protocol):
    """The client as others see it: its member info, and the list in which its room is."""

    async def change_info(self, info: bytes) -> None:
        """Change the client's member info; raises as `Worker.change_info` does."""
        ...

    def list_room(self, name: str) -> None:
        """Record the room in `Worker.listings` under a name, for as long as the client is in it."""
        ...


class Permissions(Protocol):
    """The rights of the client's token."""

    @property
    def grants(self) -> Grants | None:
        """The rights; None if auth is off."""
        ...

    def sees(self, room: str) -> bool:
        """Return whether the client may know that a room exists."""
        ...

    def sees_members(self, room: str) -> bool:
        """Return whether the client may know who is in a room."""
        ...

    async def refresh(self, token: str) -> float | None:
        """Go on with a newer token; returns the Unix time of its end, None if it has none.

        Raises `Refused` for a token with which no client may come in, and for that of another subject.
        """
        ...


class Rate(Protocol):
    """The rate of the client's messages."""

    def charge(self, messages: float) -> None:
        """Count a request of the client as so many messages, beside its event."""
        ...


@dataclass(frozen=True, slots=True)
class ClientPort:
    """All parts for one client. The `worker` knows the members and the rules of rooms."""

    worker: Worker
    handshake: Handshake
    socket: ClientSocket
    membership: RoomMembership
    publisher: MessagePublisher
    presence: MemberPresence
    permissions: Permissions
    rate: Rate
