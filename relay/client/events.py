"""What a room tells its user, in the order in which everybody in the room sees it."""

from typing import Any

from msgspec import Struct

from relay.model.envelope import MessageId


class Envelope(Struct, frozen=True):
    """Somebody said something: `sender` is the peer that the relay vouches for, `data` the whole JSON object."""

    id: MessageId
    sender: str
    data: dict[str, Any]


class Joined(Struct, frozen=True):
    """A peer has come into the room."""

    peer: str


class Left(Struct, frozen=True):
    """A peer is no longer in the room, nor expected back."""

    peer: str


class Interrupted(Struct, frozen=True):
    """The connection was lost, and why; it is being made anew. What is sent waits meanwhile."""

    code: str
    text: str


class Resumed(Struct, frozen=True):
    """The connection was lost and is back; what was missed has been told, `replayed` envelopes of it."""

    replayed: int


class Lost(Struct, frozen=True):
    """Something was missed and cannot be had; why, see the protocol's reasons. What follows is complete again."""

    reason: str


Event = Envelope | Joined | Left | Interrupted | Resumed | Lost
