"""Events of a room, in the order in which every member receives them."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from relay.model.envelope import MessageId
from relay.model.names import unescape
from relay.model.rules import RoomRules


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


class NoToken(Struct, frozen=True):
    """There is no new token: the program's function failed (`token_failed`), or the relay refused its result.

    The client asks again, later.
    """

    code: str
    text: str


class NewRules(Struct, frozen=True):
    """The room has these rules now; `by` is the peer that changed them, "" for the relay or a server."""

    rules: RoomRules
    by: str = ""


class MemberKicked(Struct, frozen=True):
    """A peer is put out of the room; `Left` follows. If it is this client, the room is over for it."""

    peer: str
    reason: str = ""


class RoomEnded(Struct, frozen=True):
    """The room ends, for all its members."""

    reason: str = ""


class MoveAsked(Struct, frozen=True):
    """This client should leave the room, and join the one with the name `to`."""

    to: str


class Unreadable(Struct, frozen=True):
    """The relay sent a frame that this client cannot read, and why.

    It may have been an envelope, or a change of members. The client skips it and goes on. A relay and a client of the
    same version never meet this: it takes an older relay, or a server that is no relay.
    """

    reason: str


Notice = NewRules | MemberKicked | RoomEnded | MoveAsked
"""Something that the relay, a server or a member did with the room."""

Event = Envelope | Joined | Changed | Left | Counted | Interrupted | Resumed | Lost | NoToken | Notice | Unreadable


def notice_in(frame: Mapping[str, Any]) -> Notice:
    """Read a frame of the type `rules`, `kicked`, `closed` or `move`; raises KeyError, ValueError or TypeError."""
    match frame["type"]:
        case "rules":
            return NewRules(rules_in(frame), str(frame.get("by", "")))
        case "kicked":
            return MemberKicked(str(frame["peer"]), str(frame.get("reason", "")))
        case "closed":
            return RoomEnded(str(frame.get("reason", "")))
        case _:
            return MoveAsked(unescape(str(frame["to"])))


def rules_in(frame: Mapping[str, Any]) -> RoomRules:
    """Read the rules in a frame, in which null stands for the relay's settings; raises as `notice_in`."""
    return msgspec.convert({name: value for name, value in frame["rules"].items() if value is not None}, RoomRules)
