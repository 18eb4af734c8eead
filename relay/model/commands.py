"""Commands: the requests of clients to the relay, independent of the protocol. A codec's `decode` returns them.

Rooms and peers have their escaped names. `room` is "" for the connection's own room, which it joined in the handshake.
`key` marks a command: its answer has the same key.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import ClassVar, Final, NamedTuple

import msgspec
from msgspec import Struct, structs

from relay.model.rules import RuleChange, Terms

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
    again; with an `identity`, that decides, and the key only marks the answer. An envelope that is not `stored` is
    missing in replays.
    """

    envelope: bytes
    to: tuple[str, ...] = ()
    channel: str = ""
    key: str = ""
    room: str = ""
    after: str = ""
    identity: Identity | None = None
    stored: bool = True


class Tracking(Enum):
    """How the relay knows a member's delivered position, for a protocol whose clients have no cursor of their own.

    NONE: it does not, and the client says from which id it resumes. WRITTEN: the client has got the bytes that its
    connection has received, up to the first acknowledgement of its gateway. ACKNOWLEDGED: only the gateway's
    acknowledgements count, since the protocol has them.
    """

    NONE = auto()
    WRITTEN = auto()
    ACKNOWLEDGED = auto()


class Join(Struct, frozen=True, eq=False):
    """Join one more room, as `peer` ("" for the peer id of the connection's own room).

    Without `info`, a member that resumes keeps the one that it has. Without `can_resume`, the membership is not held
    when the connection is lost. With `tracking`, a resumed membership goes on from its delivered position.
    `arrived` is the time at which the command was read. `password` is the one that the room's rules may ask for. With
    `own_key`, the client has made the resume key itself, and keeps it. One that `opens` is only for a room without
    members, which gets its `terms`; one that does not (False) only for a room that exists; None for either. With
    `own_key` and a `next_key`, the client has two keys: the membership can be resumed with `next_key` as well. With
    `held_only`, a membership that is connected is not taken by the key in `resume`, unless that is its newest. It is
    found under the name `found_by`, "" for none (`Worker.places`). One that `reads_tree` gets the changes of the room's
    tree, and is not held.
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
    arrived: float = msgspec.field(default_factory=time.monotonic)
    password: str = ""
    own_key: bool = False
    opens: bool | None = None
    terms: Terms | None = None
    next_key: str = ""
    held_only: bool = False
    found_by: str = ""
    reads_tree: bool = False

    def __eq__(self, other: object) -> bool:
        # The same command may come twice, at two times.
        if not isinstance(other, Join):
            return NotImplemented
        return structs.astuple(structs.replace(self, arrived=0.0)) == structs.astuple(
            structs.replace(other, arrived=0.0)
        )

    __hash__ = None  # type: ignore[assignment]  # Commands are not hashed.

    def __repr__(self) -> str:
        # Without keys and passwords, which must not get into a log.
        return f"Join(room={self.room!r}, peer={self.peer!r}, key={self.key!r})"


@dataclass(frozen=True, slots=True)
class Move:
    """Join a room, which becomes the connection's own, and leave the one that was; does nothing in that room itself.

    `can_resume` is as in `Join`, for a connection that was in no room before; other connections keep theirs.
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

    `name` is text, as channels are not escaped. Without `rooms`, only channels count.
    """

    name: str
    room: str = ""
    key: str = ""
    rooms: bool = True


@dataclass(frozen=True, slots=True)
class Ping:
    """Ask for the newest id, and check that the relay answers."""

    room: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Refresh:
    """Replace the client's token by a newer one of the same subject, over the same connection."""

    token: str = field(repr=False)
    key: str = ""


@dataclass(frozen=True, slots=True)
class Kick:
    """Put a peer out of a room, whose members are told the `reason`; for `ban` seconds it may not come back."""

    peer: str
    reason: str = ""
    ban: int = 0
    room: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class ChangeRules:
    """Change the rules of a room; without a `change`, ask for them."""

    change: RuleChange | None = None
    room: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class CloseRoom:
    """Put all members out of a room, and end it; they are told the `reason`."""

    reason: str = ""
    room: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class MoveMembers:
    """Send these peers of a room to the room `to`; None for all members."""

    to: str
    peers: Sequence[str] | None = None
    room: str = ""
    key: str = ""


RoomControl = Kick | ChangeRules | CloseRoom | MoveMembers
"""Commands of a client that has a say in a room: by its token, or as the room's owner."""


class GatewayCommand:
    """A command of one gateway, which its own session executes; `about` is its name in errors."""

    __slots__ = ()

    about: ClassVar[str]

    @property
    def key(self) -> str:
        """The mark of the command; "" for none."""
        return ""

    @property
    def joins(self) -> int:
        """How many rooms it may join."""
        return 0


Command = (
    Publish
    | Join
    | Move
    | Leave
    | Subscribe
    | Unsubscribe
    | SetInfo
    | AskPresence
    | Detect
    | Ping
    | Refresh
    | RoomControl
    | GatewayCommand
)
