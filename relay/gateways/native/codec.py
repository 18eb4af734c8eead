"""The codec of the relay's own protocol: JSON objects in text frames.

An object without `type` is an envelope. The relay forwards its text byte for byte, with `from` and `id` added at the
end. An object with `type` is a command to the relay, or an event from it. No event has a `channel`: clients made for
a plain server that echoes envelopes pick messages by their channel, and so never take an event for a message.
"""

from typing import Final

import msgspec
from mypy_extensions import mypyc_attr

from relay.gateways.base.event_fields import event_fields
from relay.gateways.native.commands import (
    Channels,
    CommandHead,
    CommandType,
    InfoCommand,
    JoinCommand,
    LeaveCommand,
    OwnCommand,
    PingCommand,
    PresenceCommand,
    PublishCommand,
    RefreshCommand,
    SubscribeCommand,
    UnsubscribeCommand,
)
from relay.gateways.native.control import CONTROL_COMMANDS, ControlCommand, read_control
from relay.gateways.native.topics import (
    PublishTopic,
    SubscribeTopics,
    UnsubscribeTopics,
    publication,
)
from relay.model import events
from relay.model.channels import labels
from relay.model.codec import Frame
from relay.model.commands import (
    AskPresence,
    Command,
    Join,
    Leave,
    Ping,
    Publish,
    Refresh,
    SetInfo,
    Subscribe,
    Unsubscribe,
)
from relay.model.envelope import read_envelope, read_frame
from relay.model.errors import BadFrame, Refused
from relay.model.explanations import explain
from relay.model.json_text import check_nesting, read_leniently
from relay.model.member_info import read_info

_AnyCommand = OwnCommand | ControlCommand
_command_decoder = msgspec.json.Decoder(_AnyCommand)
_head_decoder = msgspec.json.Decoder(CommandHead)
_type_decoder = msgspec.json.Decoder(CommandType)
_encoder = msgspec.json.Encoder()
_SHOWN_TYPE: Final = 40
_COMMANDS = CONTROL_COMMANDS | {
    "join", "leave", "publish", "subscribe", "unsubscribe", "info", "presence", "ping", "refresh",
}  # fmt: skip


@mypyc_attr(allow_interpreted_subclasses=True)
class NativeCodec:
    """The `Codec` of the native protocol.

    Frames of a `tagged` codec name their room; it serves the rooms that are not the connection's own.
    """

    def __init__(self, *, tagged: bool = False) -> None:
        self._tagged = tagged
        self.key = "native+room" if tagged else "native"

    def decode(self, frame: Frame) -> Command:
        """Read an envelope or a command from a text frame; a binary frame is a `BadFrame`."""
        if not frame.is_text:
            raise BadFrame("binary_frame")
        return read_leniently(_decode, frame.data)

    def encode(self, event: events.Event) -> Frame:
        """Write a message as its envelope's own text, and any other event as an object with a `type`."""
        if isinstance(event, events.Message):
            # The body is the envelope up to its closing brace; see `envelope.splice`. Nothing is parsed or built anew.
            end = b',"room":"%s"}' % event.room.encode("ascii") if self._tagged else b"}"
            return Frame(event.body + end)
        return Frame(_encoder.encode(event_fields(event, tagged=self._tagged)))


def _decode(data: bytes) -> Command:
    # Most frames are envelopes: they are tried first, and read only once.
    return read_frame(data) or _decode_command(data)


def _decode_command(data: bytes) -> Command:
    try:
        command: _AnyCommand = _command_decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _bad_command(data, explain(error)) from None
    room, key = command.room, command.key
    match command:
        case JoinCommand():
            info = _read_info(bytes(command.info), "join", key)
            channels = _labels(command.channels, "join", key)
            return Join(
                room,
                command.resume,
                command.since,
                command.echo,
                command.presence,
                channels,
                key,
                info,
                password=command.password,
            )
        case LeaveCommand():
            return Leave(room, key)
        case PublishCommand():
            return _decode_publication(command) if command.topic else _decode_publish(command)
        case SubscribeCommand():
            return _decode_subscribe(command)
        case UnsubscribeCommand():
            if command.topics is not None:
                return UnsubscribeTopics(command.topics, key)
            return Unsubscribe(_labels(command.channels, "unsubscribe", key), room, key)
        case InfoCommand():
            return SetInfo(_read_info(bytes(command.info), "info", key), room, key)
        case PresenceCommand():
            return AskPresence(room, key, command.limit)
        case PingCommand():
            return Ping(room, key)
        case RefreshCommand():
            return Refresh(command.token, key)
        case _:
            return read_control(command)


def _decode_publish(command: PublishCommand) -> Publish:
    if not command.envelope:
        raise BadFrame("bad_command", "publish needs an envelope", about="publish", key=command.key)
    try:
        inner = read_envelope(bytes(command.envelope))
    except BadFrame as error:
        # The client may be waiting for an answer under the command's key, where the envelope has none that can be read.
        error.key = error.key or command.key
        raise
    if command.key and inner.key and command.key != inner.key:
        text = "the command and its envelope have different keys; one is enough"
        raise BadFrame("bad_command", text, about="publish", key=command.key)
    return Publish(inner.envelope, inner.to, inner.channel, inner.key or command.key, command.room, command.after)


def _decode_subscribe(command: SubscribeCommand) -> Command:
    if command.topics is not None:
        return SubscribeTopics(command.topics, command.key)
    channels = _labels(command.channels, "subscribe", command.key)
    if channels is None:
        raise BadFrame("bad_command", "subscribe needs channels, or topics", about="subscribe", key=command.key)
    return Subscribe(channels, command.room, command.key)


def _labels(channels: Channels | None, about: str, key: str) -> list[str] | None:
    try:
        return None if channels is None else labels(channels)
    except Refused as error:
        raise BadFrame("bad_command", error.text, about=about, key=key) from None


def _decode_publication(command: PublishCommand) -> PublishTopic:
    if not command.data:
        raise BadFrame("bad_command", "publish to a topic needs data", about="publish", key=command.key)
    envelope = publication(bytes(command.data))
    try:
        check_nesting(envelope)
    except BadFrame as error:
        error.key = command.key
        raise
    return PublishTopic(command.topic, envelope, command.key)


def _read_info(text: bytes, about: str, key: str) -> bytes:
    try:
        return read_info(text)
    except Refused as error:
        raise BadFrame(error.code, error.text, about=about, key=key) from None


def _bad_command(data: bytes, text: str) -> BadFrame:
    """Return the error about a command that cannot be read: with its type and key as far as these can be."""
    try:
        head = _head_decoder.decode(data)
    except msgspec.ValidationError:
        # The key is too long, or no text; or the type is no text, and so no command.
        try:
            head = CommandHead(_type_decoder.decode(data).type)
        except msgspec.ValidationError:
            return BadFrame("unknown_command", _unknown("this type"))
        if head.type in _COMMANDS:
            return BadFrame("bad_command", text, about=head.type)
    if head.type not in _COMMANDS:
        shown = head.type if len(head.type) <= _SHOWN_TYPE else f"{head.type[:_SHOWN_TYPE]}…"
        return BadFrame("unknown_command", _unknown(f'the type "{shown}"'), key=head.key)
    return BadFrame("bad_command", text, about=head.type, key=head.key)


def _unknown(named: str) -> str:
    return (
        f"the relay has no command of {named}; the commands are {', '.join(sorted(_COMMANDS))}. To send an object with "
        'a type of your own to the room, wrap it in an envelope: {"message":{"type":"offer",…}}'
    )
