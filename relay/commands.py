"""What a client can ask for, whatever protocol it speaks: the values a codec's `receive` returns.

`room` is "" for the connection's own room. `key` is the client's mark, repeated in the answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct


class Publish(Struct, frozen=True):
    """Send an envelope (`envelope` is its JSON text) to the room, or only to the peers in `to`.

    Only if the one with the key `after`, if there is one, was sent.
    """

    envelope: bytes
    to: tuple[str, ...] = ()
    channel: str = ""
    key: str = ""
    room: str = ""
    after: str = ""


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
class Ping:
    """Ask for the newest id."""

    room: str = ""
    key: str = ""


Command = Publish | Join | Leave | Subscribe | Unsubscribe | AskPresence | Ping
