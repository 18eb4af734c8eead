"""A connection that gets the events of one room, and the case that it is a member of the room."""

from collections.abc import Iterable
from typing import ClassVar, Final, Protocol

from mypy_extensions import mypyc_attr

from relay.backend.stamps import split_previous
from relay.limits import TokenBucket
from relay.model.codec import Encoder, Frame
from relay.model.commands import Publish
from relay.model.envelope import BEFORE_ALL, MembershipVersion
from relay.model.errors import CloseReason, RelayError
from relay.model.events import Event, Message, RoomEvent
from relay.model.names import TREE
from relay.model.publication import Receipt
from relay.rooms.connection import Connection

TREES: Final = (TREE,)
"""The receivers of a change of the room's tree that is a message for nobody else."""


class Listener:
    """A connection to which the events of one room are delivered: a `Member` or an `Observer`.

    `peer` is the member's peer id, "" for an observer. `channels` are those it subscribed to, None for all. `since` is
    the room's id when it was welcomed. `backlog` has the events that arrived before the welcome was sent, if any.
    """

    __slots__ = ("backlog", "channels", "codec", "connection", "echo", "peer", "presence", "room", "since")

    def __init__(
        self,
        connection: Connection,
        codec: Encoder,
        room: str,
        peer: str,
        *,
        echo: bool = False,
        presence: bool = False,
    ) -> None:
        self.connection = connection
        self.codec = codec
        self.room = room
        self.peer = peer
        self.echo = echo
        self.presence = presence
        self.channels: set[str] | None = None
        self.since = BEFORE_ALL
        # Made for the first event: most members get none before their welcome, and all have none after it.
        self.backlog: list[RoomEvent] | None = None

    @property
    def welcomed(self) -> bool:
        """Whether the welcome was sent, so that `since` is known."""
        raise NotImplementedError

    def keep(self, event: RoomEvent) -> None:
        """Keep an event that arrives before the welcome is sent."""
        if self.backlog is None:
            self.backlog = []
        self.backlog.append(event)

    def send(self, event: Event) -> None:
        """Write one event to this connection alone."""
        self.connection.write(self.codec.encode(event))

    def receives(self, message: Message) -> bool:
        """Whether a message of this room is for this connection: by sender, addressees and channel."""
        if message.sender == self.peer and not self.echo:
            return False
        if message.to and self.peer not in message.to:
            return False
        return self.channels is None or message.channel in self.channels


def send_to_all(listeners: Iterable[Listener], event: Event) -> None:
    """Write one event to these connections; its frame is made once for each codec key."""
    frames: dict[str, Frame] = {}
    for listener in listeners:
        key = listener.codec.key
        frame = frames.get(key)
        if frame is None:
            frame = frames[key] = listener.codec.encode(event)
        listener.connection.write(frame)


@mypyc_attr(allow_interpreted_subclasses=True)
class OutcomeReceiver:
    """Takes the outcomes of the messages that its client has published; in most cases a session."""

    __slots__ = ()

    def published(self, member: "Member", command: Publish, outcome: Receipt | RelayError) -> None:
        """Take the outcome of a message of this member; called once for each."""
        raise NotImplementedError


class Host(Protocol):
    """Serves the client of a member, which may be in several rooms."""

    def put_out(self, member: "Member", reason: CloseReason) -> None:
        """End a membership that the room has ended; the member is in no room any more."""
        ...

    def moved(self, member: "Member", room: str) -> None:
        """Go on to another room with a member, where that is the relay's part; the client has been told of it."""
        ...


class Member(Listener):
    """A connection's membership of one room.

    `generation` is 0 until the presence entry was written. `began` is the room's id when its peer first joined.
    `version` is the membership version that its next message is published with. `info` is its member info (see
    `member_info`); `info_bucket` limits how often that changes, and is made on first use.

    `resume` and `previous_resume` are fingerprints of the newest resume key and of the one before; the stamp of the
    attempt follows the previous one. `address` is as in `Claim`, and `subject` as in `JoinAttempt`. `host` serves its
    client, None where only the connection is known. `keeps_key` if a client that keeps one key for as long
    as it is recovered (Socket.IO) still has the previous one.
    """

    __slots__ = (
        "address",
        "began",
        "generation",
        "host",
        "info",
        "info_bucket",
        "keeps_key",
        "previous_resume",
        "resume",
        "subject",
        "version",
    )

    can_resume: ClassVar[bool] = True
    """Whether the membership is held when its connection is lost. An attribute of the class takes no memory."""

    def __init__(
        self,
        connection: Connection,
        codec: Encoder,
        room: str,
        peer: str,
        *,
        echo: bool = False,
        presence: bool = False,
        info: bytes = b"",
    ) -> None:
        super().__init__(connection, codec, room, peer, echo=echo, presence=presence)
        self.generation = 0
        self.host: Host | None = None
        self.address = self.subject = ""
        self.info = info
        self.info_bucket: TokenBucket | None = None
        self.version = MembershipVersion()
        self.resume = ""
        self.previous_resume = ""
        self.keeps_key = False
        self.began = BEFORE_ALL

    @property
    def stable_resume(self) -> str:
        """The fingerprint of the key of a client that keeps one key for as long as it is recovered (Socket.IO)."""
        return split_previous(self.previous_resume)[0] if self.keeps_key else self.resume

    @property
    def welcomed(self) -> bool:
        """Whether the presence entry was written, and the welcome sent."""
        return self.generation > 0

    def put_out(self, reason: CloseReason) -> None:
        """End the membership for the client, after it was taken out of its room."""
        if self.host is None:
            self.connection.close(reason)
        else:
            self.host.put_out(self, reason)


class UnheldMember(Member):
    """A membership of a client that has no way to resume it: it ends at once when its connection is lost."""

    __slots__ = ()

    can_resume = False


class TreeMember(UnheldMember):
    """A membership of a client that reads the tree of its room, and cannot resume."""

    __slots__ = ()

    def receives(self, message: Message) -> bool:
        """Whether a message is for this connection: also changes of the tree, by whichever member."""
        return message.to == TREES or super().receives(message)
