"""Events that a bus delivers to the hub, and events that a session sends to its client."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from msgspec import Struct

from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.ice import IceOffer
from relay.model.message import Message as Message
from relay.model.message import TreeMessage as TreeMessage
from relay.model.rules import RoomRules

# Events of a room, and gaps, which a bus delivers.


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
    """`peer`'s membership of `room` now has this generation: a connection with a lower one has lost it.

    `repeated` says that the new connection offered the same key as the one before it. So they are two attempts of one
    client, which may go on with either of them.
    """

    room: str
    id: MessageId
    peer: str
    generation: int
    repeated: bool = False


class MemberChanged(Struct, frozen=True):
    """`peer` has this info now; b"" if it has none any more.

    `info` is JSON text as `member_info.read_info` returns it. A member that joins with info joins and changes, in two
    events that follow each other.
    """

    room: str
    id: MessageId
    peer: str
    info: bytes


class RulesChanged(Struct, frozen=True):
    """`room` has these rules now; `by` is the peer that changed them, "" for the relay or a server.

    `stored` is the form in which the backend has them, for workers.
    """

    room: str
    id: MessageId
    rules: RoomRules
    by: str = ""
    stored: str = ""

    def __repr__(self) -> str:
        # Without the stored form, which has the key that is derived from the password.
        return f"RulesChanged(room={self.room!r}, id={self.id}, rules={self.rules}, by={self.by!r})"


class Kicked(Struct, frozen=True):
    """`peer` is put out of `room`; that it left follows. A member of a later `generation` is not meant."""

    room: str
    id: MessageId
    peer: str
    reason: str = ""
    generation: int = 0


class RoomClosed(Struct, frozen=True):
    """`room` ends, and all its members are put out."""

    room: str
    id: MessageId
    reason: str = ""


class Moved(Struct, frozen=True):
    """Members of `room` are sent to the room `to`: these `peers`, or all."""

    room: str
    id: MessageId
    to: str
    peers: tuple[str, ...] | None = None


class Gap(Struct, frozen=True):
    """The bus may have missed events of these rooms; the hub reads them from the history."""

    rooms: Sequence[str]


RoomNotice = RulesChanged | Kicked | RoomClosed | Moved
"""An event of a room that has its id, and that its members are told as it is."""

RoomEvent = Message | MemberJoined | MemberLeft | TakenOver | MemberChanged | RoomNotice
"""An event with a position in a room's order. Ids have no holes, and every member receives them in this order."""

Delivery = RoomEvent | Gap

Loss = Literal["", "epoch", "trimmed", "too_much", "off", "not_resumed", "internal"]
"""Why events cannot be replayed; "" if they can.

`epoch`: the room's state was lost, or may be older than events that clients saw. `trimmed`: the history does not reach
back that far, and messages may be missing. `too_much`: the events are larger than one replay may be. `off`: there is
no history. `not_resumed`: the client was not a member all the time. `internal`: the relay failed to encode one of the
events.
"""


class Replay(Struct, frozen=True):
    """The events after an id, up to the newest id of the room (`id`).

    If `lost`, some cannot be replayed; `events` are those after the loss. The history may have dropped the events up to
    `skipped`: none of them was a message. `changed` tells whether members or infos may have changed in that part.
    """

    id: MessageId
    events: Sequence[RoomEvent] = ()
    lost: Loss = ""
    skipped: MessageId = BEFORE_ALL
    changed: bool = False


# Events that a session sends to its client.


@dataclass(frozen=True, slots=True)
class Present:
    """One member in a roster; a held member has lost its connection and may still resume.

    `info` is JSON text, b"" if the member has none.
    """

    peer: str
    held: bool = False
    info: bytes = b""


@dataclass(frozen=True, slots=True)
class Roster:
    """A room's members: how many there are, and as many of them as the relay lists by name."""

    count: int
    members: Sequence[Present] = ()
    id: MessageId = MessageId(0, 0)


@dataclass(frozen=True, slots=True)
class Welcome:
    """The connection has joined `room` as `peer`; `resume` is its resume key.

    If `recovered`, the events after `id` follow, then `Recovered`. Otherwise `id` is the room's newest, or the
    beginning of its epoch, whose messages follow then: `recovered` is None if the client asked for no missed events,
    and False if not all can be replayed (`reason`). `first`: the room was empty. `ice` are the client's STUN and TURN
    servers, None if there are none.
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
    ice: IceOffer | None = None


@dataclass(frozen=True, slots=True)
class IceRenewed:
    """The client's STUN and TURN servers with new credentials; they replace those of all its rooms.

    `room` is the client's own.
    """

    room: str
    ice: IceOffer


@dataclass(frozen=True, slots=True)
class Observing:
    """The connection observes `room` without being a member; the events after the roster's id follow.

    `names`: whether the roster lists the members; without, it has their number only.
    """

    room: str
    roster: Roster
    names: bool
    key: str = ""


@dataclass(frozen=True, slots=True)
class Recovered:
    """The member has received all events that it had missed, up to `id`; `replayed` of them were envelopes."""

    room: str
    id: MessageId
    replayed: int


@dataclass(frozen=True, slots=True)
class PresenceChange:
    """The peers that joined and left `room`, and whose info changed, since the last such event.

    `info` has the newest info of peers that joined with one or changed it, b"" for one that was removed. `changed`
    names those of them that did not join meanwhile.
    """

    room: str
    id: MessageId
    joined: Sequence[str] = ()
    left: Sequence[str] = ()
    changed: Sequence[str] = ()
    info: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PresenceList:
    """A room's members: the answer to `AskPresence`, or the state after events were lost.

    A client that listens to the room has been sent all events up to the roster's id, which is `BEFORE_ALL` otherwise.
    """

    room: str
    roster: Roster
    key: str = ""


@dataclass(frozen=True, slots=True)
class Detected:
    """The answer to `Detect`: whether the name is in use, as a room or as a channel of `room`."""

    room: str
    present: bool
    key: str = ""


@dataclass(frozen=True, slots=True)
class LeftRoom:
    """The connection has left `room`, at its own request."""

    room: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """The channels that the connection now receives in `room`; None means all."""

    room: str
    channels: Sequence[str] | None
    key: str = ""


@dataclass(frozen=True, slots=True)
class InfoChanged:
    """The connection's own member of `room` now has this info; b"" for none."""

    room: str
    info: bytes
    key: str = ""


@dataclass(frozen=True, slots=True)
class CurrentRules:
    """The rules of `room`: the answer to `ChangeRules`."""

    room: str
    rules: RoomRules
    key: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """The command `about` was carried out in `room`, for `count` members."""

    room: str
    about: str
    count: int
    key: str = ""


class Ack(Struct, frozen=True):
    """The envelope with this `key` was published, under this id."""

    room: str
    id: MessageId
    key: str


@dataclass(frozen=True, slots=True)
class TokenExpiring:
    """The client's token expires in so many seconds; the connection is closed then, unless a newer one comes before."""

    seconds: float
    room: str = ""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The relay has the client's newer token; `expires` is the Unix time of its end, None if it has none."""

    expires: float | None
    key: str = ""
    room: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A command failed; `about` is its type, or "envelope"."""

    code: str
    text: str
    about: str = ""
    key: str = ""
    room: str = ""
    detail: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to `Ping`. The client has received every event up to `id` that is meant for it.

    `id` is None after the client has left the room.
    """

    room: str
    id: MessageId | None
    key: str = ""


ServerEvent = (
    RoomNotice
    | Welcome
    | IceRenewed
    | Observing
    | Recovered
    | PresenceChange
    | PresenceList
    | Detected
    | LeftRoom
    | Subscriptions
    | InfoChanged
    | CurrentRules
    | Done
    | TokenExpiring
    | Refreshed
    | Ack
    | Failure
    | Pong
)
Event = Message | ServerEvent
