"""The interfaces of applications, and the keys that connect an answer with the client's packet.

There are two kinds. Clients of an `Application` enter the room of their namespace at once, and their application has no
state. A `StatefulApplication` has an `ApplicationClient` for each client, which is connected in no room, and enters and
leaves rooms as the client asks, by its `ClientPort`.
"""

import re
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from relay.gateways.socketio.apps.port import ClientPort
from relay.gateways.socketio.encoders import OutgoingEvent
from relay.gateways.socketio.parser import IncomingEvent
from relay.model.commands import Command
from relay.model.events import Event

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


class Opened(NamedTuple):
    """The ids with which a client is accepted in its namespace; without a `private_id`, it does not recover."""

    peer: str
    private_id: str = ""


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
