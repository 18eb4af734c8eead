"""What happens: the events a bus hands to the hub, and the answers a session gives its client."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from msgspec import Struct

from relay.model.envelope import MessageId

# What a bus delivers.


class Message(Struct, frozen=True):
    """An envelope for the members of `room`; `body` lacks only the closing brace (see `envelope.seal`)."""

    room: str
    id: MessageId
    sender: str
    to: tuple[str, ...]
    channel: str
    body: bytes


class MemberJoined(Struct, frozen=True):
    """`peer` became a member of `room`."""

    room: str
    id: MessageId
    peer: str


class MemberLeft(Struct, frozen=True):
    """`peer` is no longer a member of `room`, neither connected nor held."""

    room: str
    id: MessageId
    peer: str


class TakenOver(Struct, frozen=True):
    """`peer`'s place in `room` now belongs to `generation`: a connection with a lower one has lost it."""

    room: str
    id: MessageId
    peer: str
    generation: int


class Gap(Struct, frozen=True):
    """The bus may have missed events of these rooms."""

    rooms: Sequence[str]


RoomEvent = Message | MemberJoined | MemberLeft | TakenOver
"""What shares a room's sequence: ids without holes, in the order in which everybody meets them."""

Delivery = RoomEvent | Gap

Loss = Literal["", "epoch", "trimmed", "too_much", "off", "not_resumed", "internal"]
"""Why events cannot be replayed, "" when they can.

`epoch`: the room's state was lost or is older than what was seen of it. `trimmed`: the log no longer reaches back that
far. `too_much`: there are more than would be sent at once. `off`: no log is kept. `not_resumed`: they are for those
who held a place in the room all the time. `internal`: the relay failed to write one for the client's protocol.
"""


class Replay(Struct, frozen=True):
    """What followed an id in a room, up to the newest one there is (`id`); of what follows a loss, what can be had."""

    id: MessageId
    events: Sequence[RoomEvent] = ()
    lost: Loss = ""


# What a session tells its client.


@dataclass(frozen=True, slots=True)
class Present:
    """One line of a member list; a held member has lost its connection and may yet return."""

    peer: str
    held: bool = False


@dataclass(frozen=True, slots=True)
class Roster:
    """A room's members: the first of them, and how many there are in all."""

    count: int
    members: Sequence[Present] = ()
    id: MessageId = MessageId(0, 0)


@dataclass(frozen=True, slots=True)
class Welcome:
    """The connection is in `room` as `peer`; `resume` is the key to come back with.

    `id` is the member's place in the room: the newest id, or the one that the missed events follow which come next, if
    it is `recovered`. None stands for somebody who did not ask; False has a `reason`. `first` if nobody else is here.
    """

    room: str
    peer: str
    id: MessageId
    resume: str
    resumed: bool = False
    recovered: bool | None = None
    reason: Loss = ""
    roster: Roster | None = None
    key: str = ""
    first: bool = False


@dataclass(frozen=True, slots=True)
class Recovered:
    """The member has been given all it had missed, `replayed` envelopes, up to `id`."""

    room: str
    id: MessageId
    replayed: int


@dataclass(frozen=True, slots=True)
class PresenceChange:
    """Who joined and who left `room` since the last such event."""

    room: str
    id: MessageId
    joined: Sequence[str] = ()
    left: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class PresenceList:
    """The answer to a question for a room's members, or news after events were missed."""

    room: str
    roster: Roster
    key: str = ""


@dataclass(frozen=True, slots=True)
class Detected:
    """Whether a name was found in use, as a room or as a channel of `room`."""

    room: str
    present: bool
    key: str = ""


@dataclass(frozen=True, slots=True)
class LeftRoom:
    """The connection has left `room`, as it asked to."""

    room: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """The channels the connection now hears in `room`; None means all."""

    room: str
    channels: Sequence[str] | None
    key: str = ""


class Ack(Struct, frozen=True):
    """The envelope sent with `key` has its place in the room."""

    room: str
    id: MessageId
    key: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Something was not done; `about` names the command, or is "envelope"."""

    code: str
    text: str
    about: str = ""
    key: str = ""
    room: str = ""
    detail: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a client's ping, with the newest id the client was told or spared."""

    room: str
    id: MessageId
    key: str = ""


ServerEvent = (
    Welcome | Recovered | PresenceChange | PresenceList | Detected | LeftRoom | Subscriptions | Ack | Failure | Pong
)
Event = Message | ServerEvent
