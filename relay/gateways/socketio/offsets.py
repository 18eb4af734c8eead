"""Offsets: the text by which a Socket.IO client from 4.6 on recovers its connection; it names the events that it has.

Such a client keeps the last argument of the last event that it got, if that is text, and sends it back as `offset`. The
reference implementation appends the text to every event. Listeners in JavaScript do not notice, but handlers of many
other languages have a fixed number of arguments. So clients get an event of its own for it, unless they ask for more.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple, Self

from relay.model.envelope import MessageId
from relay.model.names import check_room

POSITION_EVENT: Final = "relay:position"
"""The event that only carries an offset, as its one argument. No listener has to exist for it."""

_PARAMETER: Final = "offsets"


class OffsetForm(Enum):
    """How a client gets offsets; the values are those of the query parameter `offsets`."""

    NONE = "none"
    """Not at all: the client cannot recover."""

    EVENT = "event"
    """In an event of its own after each event; the default."""

    ARGUMENT = "argument"
    """As an additional last argument of each event, as the reference implementation does."""


class Offset(NamedTuple):
    """A client has all events of `room` up to `position`; "" is the room of its namespace.

    `acknowledged` is set while the client waits for acknowledgements: it has those of its messages up to this id.
    Without it, the client has the acknowledgements of all its messages up to `position`. The text of an offset is
    `POSITION[~ACKNOWLEDGED][@ROOM]`.
    """

    position: MessageId
    room: str = ""
    acknowledged: MessageId | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an offset; raises ValueError or `Refused`."""
        ids, _, room = text.partition("@")
        position, waits, acknowledged = ids.partition("~")
        return cls(
            MessageId.parse(position),
            check_room(room) if room else "",
            MessageId.parse(acknowledged) if waits else None,
        )

    def encode(self) -> bytes:
        """Return the text as bytes; it needs no escapes in JSON."""
        position, room, acknowledged = self
        text = position.encode()
        if acknowledged:
            text += b"~" + acknowledged.encode()
        return text + b"@" + room.encode("ascii") if room else text


def offset_form(query: Mapping[str, str]) -> OffsetForm:
    """Return the form that a client asks for; a value without a meaning here may be one of the page's own."""
    try:
        return OffsetForm(query.get(_PARAMETER, OffsetForm.EVENT.value))
    except ValueError:
        return OffsetForm.EVENT
