"""What a gateway tells a session of its client: how it comes in, what it speaks, and how it is held back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from relay.model.codec import Codec
from relay.model.envelope import MessageId


@dataclass(frozen=True, slots=True)
class ResumeClaim:
    """A place that a client says it had: in this room, as this peer, with this key to it, and the last id it saw."""

    room: str
    peer: str
    resume: str
    since: MessageId


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """How a client comes in: its own room, the peer id it wants or was given, and what it asks for there.

    `key` is its mark, repeated in the welcome. A client that never `returns` to a place has none held for it. Where its
    place from `before` is still there it comes back to that, and is as new here otherwise.
    """

    room: str
    peer: str
    resume: str = ""
    since: MessageId | None = None
    echo: bool = False
    presence: bool = False
    channels: Sequence[str] | None = None
    key: str = ""
    returns: bool = True
    before: ResumeClaim | None = None


@dataclass(frozen=True, slots=True)
class CodecPair:
    """A client protocol: its codec for the connection's own room, and the one that says which room it is about."""

    own: Codec
    tagged: Codec


class PauseReading(Protocol):
    """Reads no further from the client, or again."""

    def __call__(self, *, paused: bool) -> None:
        """See `connection.Wire.pause_reading`."""
        ...
