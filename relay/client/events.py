"""Events of a room, in the order in which every member receives them."""

from typing import Any

from msgspec import Struct

from relay.model.envelope import MessageId


class Envelope(Struct, frozen=True):
    """A member sent an envelope.

    `sender` is the member's peer id, which the relay vouches for; `data` is the whole JSON object.
    """

    id: MessageId
    sender: str
    data: dict[str, Any]


class Joined(Struct, frozen=True):
    """A peer joined the room; `info` is its member info, None if it has none."""

    peer: str
    info: dict[str, Any] | None = None


class Changed(Struct, frozen=True):
    """A peer has another member info; None if it has none any more."""

    peer: str
    info: dict[str, Any] | None


class Left(Struct, frozen=True):
    """A peer left the room: it is neither connected nor expected back."""

    peer: str


class Counted(Struct, frozen=True):
    """An observed room has this many members now; the client may not see their names."""

    count: int


class Interrupted(Struct, frozen=True):
    """The connection was lost, and why. The client reconnects by itself; envelopes sent meanwhile wait."""

    code: str
    text: str


class Resumed(Struct, frozen=True):
    """The client has reconnected and received every event it had missed, `replayed` envelopes among them."""

    replayed: int


class Lost(Struct, frozen=True):
    """Events were missed and cannot be replayed; `reason` is one of the relay's. Events after this one are complete."""

    reason: str


class Unreadable(Struct, frozen=True):
    """The relay sent a frame that this client cannot read, and why.

    It may have been an envelope, or a change of members. The client skips it and goes on. A relay and a client of the
    same version never meet this: it takes an older relay, or a server that is no relay.
    """

    reason: str


Event = Envelope | Joined | Changed | Left | Counted | Interrupted | Resumed | Lost | Unreadable
