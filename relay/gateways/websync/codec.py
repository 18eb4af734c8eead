"""Writes the events of a room for WebSync clients: the part of a delivery that is the same for all of them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from relay.gateways.websync.bridge import from_message
from relay.gateways.websync.channels import NOTIFY
from relay.model import events
from relay.model.codec import NOTHING, Frame
from relay.model.commands import Command
from relay.model.envelope import MessageId
from relay.model.errors import BadFrame

_encode: Final = msgspec.json.Encoder().encode


class DeliveryFrame(Frame):
    """A publication or notification, up to the description of its `sender`; see `DeliveryConnection`."""

    __slots__ = ("channel", "id", "sender")

    def __init__(self, data: bytes, channel: str, sender: str, message_id: MessageId) -> None:
        super().__init__(data)
        self.channel = channel
        self.sender = sender
        self.id = message_id


class MembersFrame(Frame):
    """An event about the members of the room; its meaning depends on the members that a client knows."""

    __slots__ = ("event",)

    def __init__(self, event: events.Welcome | events.PresenceChange | events.PresenceList) -> None:
        super().__init__(b"{}")
        self.event = event


def now() -> datetime:
    """Return the time of the system's clock."""
    return datetime.now(UTC)


def timestamp(time: datetime) -> bytes:
    """Return a time as the protocol writes it: in UTC, without a zone, to hundredths of a second."""
    return b"%b.%02d" % (time.strftime("%Y-%m-%dT%H:%M:%S").encode("ascii"), time.microsecond // 10_000)


class WebSyncCodec:
    """The codec of all rooms: it only encodes, as messages come in posts. `shared` is as in `bridge`."""

    key = "websync"

    def __init__(self, shared: str, clock: Callable[[], datetime] = now) -> None:
        self._shared = shared
        self._clock = clock

    def decode(self, incoming: Frame) -> Command:
        """Refuse: there are no frames."""
        raise BadFrame("bad_command")

    def encode(self, event: events.Event) -> Frame:
        """Write a message as a delivery, and pass events about members on; the protocol has no place for others."""
        if isinstance(event, events.Message):
            channel, data = from_message(event, self._shared)
            role = b"notifying" if channel == NOTIFY else b"publishing"
            head = b'{"channel":%b,"data":%b,"timestamp":"%b","ext":{"fm.%b":' % (
                _encode(channel), data, timestamp(self._clock()), role,
            )  # fmt: skip
            return DeliveryFrame(head, channel, event.sender, event.id)
        if isinstance(event, events.Welcome | events.PresenceChange | events.PresenceList):
            return MembersFrame(event)
        return NOTHING
