"""Writes messages as rows of the table that the protocol was made for: `{"ID": …, "Message": "…"}`."""

from typing import Final

import msgspec

from relay.model import events
from relay.model.codec import NOTHING, Frame
from relay.model.commands import Command
from relay.model.envelope import MessageId
from relay.model.errors import BadFrame

NO_ROW: Final = b"false"
"""The answer of a poll for which there is no message: the page asks again after 400 ms."""

_encode = msgspec.json.Encoder().encode


class RowFrame(Frame):
    """A message, as the answer of a poll; `id` is its id."""

    __slots__ = ("id",)

    def __init__(self, data: bytes, message_id: MessageId) -> None:
        super().__init__(data)
        self.id = message_id


class RowCodec:
    """The codec of all rooms: it only encodes, as messages come in posts."""

    key = "xhr-signaling"

    def decode(self, incoming: Frame) -> Command:
        """Refuse: there are no frames."""
        raise BadFrame("bad_command")

    def encode(self, event: events.Event) -> Frame:
        """Write a message as a row, whose text is the envelope as it was sent; other events have no row.

        `ID` is the id of the message. Pages drop rows whose ID they have seen, and no id ever repeats.
        """
        if not isinstance(event, events.Message):
            return NOTHING
        text = _encode(event.envelope.decode())
        return RowFrame(b'{"ID":"%b","Message":%b}' % (event.id.encode(), text), event.id)
