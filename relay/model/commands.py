"""Commands: the requests of clients to the relay, independent of the protocol. A codec's `decode` returns them.

Rooms and peers have their escaped names. `room` is "" for the connection's own room, which it joined in the handshake.
`key` marks a command: its answer has the same key.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import ClassVar, Final, NamedTuple

from msgspec import Struct

MAX_LISTED: Final = 1000
"""Members that one list may name, where a client asks for so many."""


class Identity(NamedTuple):
    """The mark of a repeated envelope: its sender has sent one with this `key`, after the id `after` if there is one.

    Without a key, nothing does.
    """

    key: str = ""
    after: tuple[int, int] | None = None


NO_IDENTITY: Final = Identity()


class Publish(Struct, frozen=True):
    """Send an envelope (`envelope` is its JSON text) to the room, or only to the peers in `to`.

    With `after`, only if the envelope with that key was sent. An envelope whose `key` was used before is not sent
    again; with an `identity`, that decides, and the key only marks the answer.
    """

    envelope: bytes
    to: tuple[str, ...] = ()
    channel: str = ""
    key: str = ""
    room: str = ""
    after: str = ""
    identity: Identity | None = None


class Tracking(Enum):
    """How the relay knows a member's delivered position, for a protocol whose clients have no cursor of their own.

    NONE: it does not, and the client says from which id it resumes. WRITTEN: the client has got the bytes that its
    connection has received, up to the first acknowledgement of its gateway. ACKNOWLEDGED: only the gateway's
    acknowledgements count, since the protocol has them.
    """

    NONE = auto()
    WRITTEN = auto()
    ACKNOWLEDGED = auto()


@dataclass(frozen=True, slots=True)
class Join:
    """Join one more room, as `peer` ("" for the peer id of the connection's own room).

    Without `info`, a member that resumes keeps the one that it has. Without `can_resume`, the membership is not held
    when the connection is lost. With `tracking`, a resumed membership goes on from its delivered position.
    `arrived` is the time at which the command was read.
    """

    room: str
    resume: str = ""
    since: str = ""
    echo: bool = False
    presence: bool = False
    channels: Sequence[str] | None = None
    key: str = ""
    info: bytes = b""
    peer: str = ""
    can_resume: bool = True
    tracking: Tracking = Tracking.NONE
    arrived: float = field(default_factory=time.monotonic, compare=False)


@dataclass(frozen=True, slots=True)
class Move:
    """Join a room, which becomes the connection's own, and leave the one that was; does nothing in that room itself.

    `can_resume` is as in `Join`, for a connection that was in no room before; others keep what they have.
    """

    room: str
    key: str = ""
    can_resume: bool = True
    tracking: Tracking = Tracking.NONE
    arrived: float = field(default_factory=time.monotonic, compare=False)


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave a room at once."""

    room: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Receive only these channels, and those subscribed to before."""

    channels: Sequence[str]
    room: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Stop receiving these channels; None lifts the restriction, so that all are received."""

    channels: Sequence[str] | None
    room: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class SetInfo:
    """Change the member's own info in a room (see `member_info`); b"" removes it."""

    info: bytes
    room: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class AskPresence:
    """Ask for the members of a room: for up to `limit` by name, None for as many as the relay lists."""

    room: str = ""
    key: str = ""
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Detect:
    """Ask whether a room of this name has other members, or a channel of this name was used in `room` lately.

    `name` is text, as channels are not escaped.
    """

    name: str
    room: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Ping:
    """Ask for the newest id, and check that the relay answers."""

    room: str = ""
    key: str = ""


class GatewayCommand:
    """A command of one gateway, which its own session executes; `about` is its name in errors."""

    __slots__ = ()

    about: ClassVar[str]

    @property
    def key(self) -> str:
        """The mark of the command; "" for none."""
        return ""


Command = (
    Publish | Join | Move | Leave | Subscribe | Unsubscribe | SetInfo | AskPresence | Detect | Ping | GatewayCommand
)
