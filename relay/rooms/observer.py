"""Observers: connections that watch one room without being members of it."""

from enum import Enum

from relay.model.codec import Encoder
from relay.model.events import Message
from relay.rooms.connection import Connection
from relay.rooms.member import Listener


class Sight(Enum):
    """How much of a room an observer may see."""

    COUNTS = "counts"
    """The number of members."""

    MEMBER = "member"
    """All that a member sees: the members, joins and leaves, and messages without addressees."""

    EVERYTHING = "everything"
    """Also messages that are addressed to some members only."""


class Observer(Listener):
    """A connection that watches one room: not listed, without peer id, unable to publish.

    `presence` and `messages` select the events that it watches. With the sight `COUNTS` it gets the number of members
    alone, even if it selects more. `channels` restrict its messages as those of a member.
    """

    __slots__ = ("sight", "welcomed")

    welcomed: bool

    def __init__(
        self,
        connection: Connection,
        codec: Encoder,
        room: str,
        sight: Sight,
        *,
        presence: bool = True,
        messages: bool = True,
    ) -> None:
        sees_members = sight is not Sight.COUNTS
        super().__init__(connection, codec, room, "", echo=True, presence=presence and sees_members)
        self.sight = sight
        if not messages or not sees_members:
            # Subscribed to no channel, so that it receives no message.
            self.channels = set()
        self.welcomed = False

    def receives(self, message: Message) -> bool:
        """Whether a message of this room is for this observer: by addressees and channel."""
        if message.to and self.sight is not Sight.EVERYTHING:
            return False
        return self.channels is None or message.channel in self.channels


class RoomObservers:
    """The observers of one room on this worker.

    `listening` are the welcomed ones that are delivered events; `counting` those that are sent the number of members
    only, and cost nothing for each message. `size` counts all, also those that wait for their welcome.
    """

    __slots__ = ("counting", "listening", "size")

    def __init__(self) -> None:
        self.listening: dict[Observer, None] = {}
        self.counting: dict[Observer, None] = {}
        self.size = 0

    def __contains__(self, observer: Observer) -> bool:
        """Whether this observer was added."""
        return observer in self.listening or observer in self.counting

    def add(self, observer: Observer) -> None:
        """Add an observer whose welcome the room has reached; it was counted in `size` before."""
        (self.listening if observer.sight is not Sight.COUNTS else self.counting)[observer] = None

    def remove(self, observer: Observer) -> None:
        """Take an observer out."""
        self.listening.pop(observer, None)
        self.counting.pop(observer, None)
        self.size -= 1
