"""Topics: rooms that a client names by any text, below the room of its address, as the npm package y-webrtc does.

At `/`, the default room, the room of a topic is that of the same text. At `/rooms/APP`, it is that of `APP/TOPIC`. A
publication to a topic is an envelope of one channel, `CHANNEL`, with the data as its message.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from relay.model.commands import GatewayCommand
from relay.model.names import escape_room, unescape

CHANNEL: Final = "y-webrtc"

MAX_TOPICS: Final = 100
"""Topics that one command may name: each of them may get an error."""


@dataclass(frozen=True, slots=True)
class SubscribeTopics(GatewayCommand):
    """Join the rooms of these topics, but for those that the client is in."""

    about: ClassVar[str] = "subscribe"
    topics: Sequence[str]
    key: str = ""

    @property
    def joins(self) -> int:
        """One for each topic."""
        return len(self.topics)


@dataclass(frozen=True, slots=True)
class UnsubscribeTopics(GatewayCommand):
    """Leave the rooms of these topics, but for those that the client is not in."""

    about: ClassVar[str] = "unsubscribe"
    topics: Sequence[str]
    key: str = ""


@dataclass(frozen=True, slots=True)
class PublishTopic(GatewayCommand):
    """Publish an envelope in the room of a topic."""

    about: ClassVar[str] = "publish"
    topic: str
    envelope: bytes
    key: str = ""


def publication(data: bytes) -> bytes:
    """Return the envelope of a publication, whose data is this JSON."""
    return b'{"channel":"%b","message":%b}' % (CHANNEL.encode("ascii"), data)


def room_of(topic: str, app: str) -> str:
    """Return the room of a topic below the room `app`, "" for the default room; raise `Refused` (`bad_room`)."""
    return escape_room(f"{unescape(app)}/{topic}" if app else topic)


def topic_of(room: str, app: str) -> str:
    """Return the topic whose room this is, below the room `app`."""
    return unescape(room)[len(unescape(app)) + 1 if app else 0 :]
