"""One connection's membership of one room."""

from relay.model.codec import Encoder
from relay.model.envelope import BEFORE_ALL, MembershipVersion
from relay.model.events import Event, Message, RoomEvent
from relay.rooms.connection import Connection


class Member:
    """A connection's membership of one room.

    `generation` is 0 until the presence entry was written. `channels` are those it subscribed to, None for all. `since`
    is the room's id when it was welcomed, `began` the one with which its peer first joined. `version` is the membership
    version that its next message is published with. `backlog` keeps the events that arrive before the welcome is sent.

    `resume` and `previous_resume` are fingerprints of the newest resume key and of the one before. So is
    `stable_resume`, for clients that keep one key for as long as they are recovered (Socket.IO).
    """

    __slots__ = (
        "backlog",
        "began",
        "channels",
        "codec",
        "connection",
        "echo",
        "generation",
        "peer",
        "presence",
        "previous_resume",
        "resume",
        "room",
        "since",
        "stable_resume",
        "version",
    )

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
        self.generation = 0
        self.version = MembershipVersion()
        self.resume = ""
        self.previous_resume = ""
        self.stable_resume = ""
        self.since = BEFORE_ALL
        self.began = BEFORE_ALL
        self.backlog: list[RoomEvent] = []

    def send(self, event: Event) -> None:
        """Write one event to this member alone."""
        self.connection.write(self.codec.encode(event))

    def receives(self, message: Message) -> bool:
        """Whether a message of this room is for this member: by sender, addressees and channel."""
        if message.sender == self.peer and not self.echo:
            return False
        if message.to and self.peer not in message.to:
            return False
        return self.channels is None or message.channel in self.channels
