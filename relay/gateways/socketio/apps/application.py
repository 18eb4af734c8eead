"""The interface of applications, and the keys that connect an answer with the client's packet."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

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
