"""What a client can ask for, whatever protocol it speaks: the values a codec's `decode` returns.

`room` is "" for the connection's own room. `key` is the client's mark, repeated in the answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct


class Publish(Struct, frozen=True):
    """Send an envelope (`envelope` is its JSON text) to the room, or only to the peers in `to`.

    Only if the one with the key `after`, if there is one, was sent. With `once`, a repeat of a key is not sent again;
    without, the key is nothing but a mark.
    """

    envelope: bytes
    to: tuple[str, ...] = ()
    channel: str = ""
    key: str = ""
    room: str = ""
    after: str = ""
    once: bool = True


@dataclass(frozen=True, slots=True)
class Join:
    """Enter one more room."""

    room: str
    resume: str = ""
    since: str = ""
    echo: bool = False
    presence: bool = False
    channels: Sequence[str] | None = None
    key: str = ""


@dataclass(frozen=True, slots=True)
class Move:
    """Make another room the connection's own: enter it, and leave the one that was; nothing changes if it is that."""

    room: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave a room at once."""

    room: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Hear only these channels, and those subscribed to before."""

    channels: Sequence[str]
    room: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Stop hearing these channels; None lifts the restriction, so that all are heard."""

    channels: Sequence[str] | None
    room: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class AskPresence:
    """Ask who is in a room."""

    room: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Detect:
    """Ask whether anybody else is in a room of this name, or a channel of this name was used here lately."""

    name: str
    room: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Ping:
    """Ask for the newest id."""

    room: str = ""
    key: str = ""


Command = Publish | Join | Move | Leave | Subscribe | Unsubscribe | AskPresence | Detect | Ping
