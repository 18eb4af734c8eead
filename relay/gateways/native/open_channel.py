"""The dialect of websocket-over-nodejs, a server of demos: first `{"open": true, …}`, then `{"channel": …, "data": …}`.

Its frames have no type, and look like envelopes. So the first frame of a connection decides: if it has exactly the two
fields of an `open`, or of a `checkPresence`, the connection speaks the dialect to its end.

A channel is a room, as a topic of y-webrtc is (`topics`). In the room, `data` is the message of an envelope with that
channel, and a page gets the message of each envelope alone.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from relay.gateways.native.codec import NativeCodec
from relay.model import events
from relay.model.channels import Label, label
from relay.model.codec import NOTHING, Frame
from relay.model.commands import Command, GatewayCommand
from relay.model.errors import BadFrame, Refused
from relay.model.explanations import explain
from relay.model.json_text import check_nesting, read_leniently

_LONGEST_OPENING: Final = 4096
"""Bytes of a first frame that is looked at: the name of a room is shorter, however it is escaped."""


@dataclass(frozen=True, slots=True)
class OpenChannel(GatewayCommand):
    """Join the room of a channel, unless the client is in it."""

    about: ClassVar[str] = "open"
    channel: str

    @property
    def joins(self) -> int:
        """One."""
        return 1


@dataclass(frozen=True, slots=True)
class CheckPresence(GatewayCommand):
    """Ask whether the room of a channel has members."""

    about: ClassVar[str] = "checkPresence"
    channel: str


@dataclass(frozen=True, slots=True)
class PublishData(GatewayCommand):
    """Publish an envelope in the room of a channel."""

    about: ClassVar[str] = "data"
    channel: str
    envelope: bytes


class _Open(Struct, forbid_unknown_fields=True):
    open: bool
    channel: Label


class _Check(Struct, forbid_unknown_fields=True):
    channel: Label
    check: bool = msgspec.field(name="checkPresence")


class _Frame(Struct):
    channel: Label
    check: bool = msgspec.field(name="checkPresence", default=False)
    open: bool = False
    data: Raw | UnsetType = UNSET


class _Envelope(Struct):
    message: Raw | UnsetType = UNSET


_open = msgspec.json.Decoder(_Open)
_check = msgspec.json.Decoder(_Check)
_frame = msgspec.json.Decoder(_Frame)
_envelope = msgspec.json.Decoder(_Envelope)
_encode = msgspec.json.Encoder().encode


def opens_channel(frame: Frame) -> bool:
    """Return whether the first frame of a connection is one of this dialect."""
    if not frame.is_text or len(frame.data) > _LONGEST_OPENING:
        return False
    try:
        return _open.decode(frame.data).open
    except msgspec.MsgspecError:
        pass
    try:
        return _check.decode(frame.data).check
    except msgspec.MsgspecError:
        return False


class ChannelCodec(NativeCodec):
    """Reads the frames of the dialect; answers are those of the native protocol."""

    def decode(self, frame: Frame) -> Command:
        """Read a frame; raises `BadFrame`."""
        if not frame.is_text:
            raise BadFrame("binary_frame")
        return read_leniently(_decode, frame.data)


def _decode(data: bytes) -> Command:
    check_nesting(data)
    try:
        frame = _frame.decode(data)
        channel = label(frame.channel)
    except msgspec.ValidationError as error:
        raise BadFrame("bad_command", explain(error), about="data") from None
    except msgspec.DecodeError as error:
        raise BadFrame("bad_json", explain(error), about="data") from None
    except Refused as error:
        raise BadFrame("bad_command", error.text, about="data") from None
    if frame.check:
        return CheckPresence(channel)
    if frame.open:
        return OpenChannel(channel)
    if frame.data is UNSET:
        raise BadFrame("bad_command", "a frame has data, or open or checkPresence is true", about="data")
    envelope = b'{"channel":%b,"message":%b}' % (_encode(frame.channel), bytes(frame.data))
    check_nesting(envelope)
    return PublishData(channel, envelope)


class DataCodec(NativeCodec):
    """Writes the events of a channel's room: messages without their envelope, errors, and nothing else.

    Pages of the dialect take every frame for data. An envelope of another form, without a `message`, is data itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.key = "channel-data"

    def encode(self, event: events.Event) -> Frame:
        """Write an event; `NOTHING` for most."""
        if isinstance(event, events.Message):
            message = _envelope.decode(event.envelope).message
            return Frame(event.envelope if message is UNSET else bytes(message))
        return super().encode(event) if isinstance(event, events.Failure) else NOTHING
