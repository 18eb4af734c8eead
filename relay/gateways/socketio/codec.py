"""Socket.IO events and the envelopes they travel in.

`emit("message", data)` with one object that is an envelope is that envelope. Whatever else is emitted travels as
`{"event": name, "args": […]}`, with `attachments` (in Base64) where there are binary ones. And back: an envelope of
that form is the event it names, and any other is `message` with the envelope, as its sender wrote it.
"""

import base64
import binascii
from collections.abc import Collection, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from relay import events
from relay.codec import NOTHING, Bundle, Frame
from relay.commands import Command, Detect, Move, Publish
from relay.envelope import Channel, unseal
from relay.errors import BadFrame
from relay.gateways.socketio.packets import BadPacket, Revision, attachment
from relay.gateways.socketio.parser import MAX_ATTACHMENTS, MAX_NAME, RESERVED, Call, check_placeholders, read_name

RETRYABLE: Final = frozenset({"too_fast", "unavailable", "outcome_unknown"})
"""Failures that are not acknowledged: a client that wants to be sure waits for that, and sends again."""

_ACK: Final = "ack:"
_JOIN: Final = "join:"


class _Plain(Struct):
    """An object that is an envelope as it stands: none of these fields, and a channel as envelopes have it."""

    type: Raw | UnsetType = UNSET
    sender: Raw | UnsetType = msgspec.field(name="from", default=UNSET)
    id: Raw | UnsetType = UNSET
    room: Raw | UnsetType = UNSET
    to: Raw | UnsetType = UNSET
    key: Raw | UnsetType = UNSET
    event: Raw | UnsetType = UNSET
    channel: Channel | int | None = None

    @property
    def wanting(self) -> bool:
        """Whether it has a field that would mean something else in an envelope."""
        found = (self.type, self.sender, self.id, self.room, self.to, self.key, self.event)
        return any(field is not UNSET for field in found)


class _Event(Struct):
    """An event in an envelope."""

    event: Annotated[str, Meta(max_length=MAX_NAME)] | int
    args: list[Raw]
    attachments: Annotated[list[str], Meta(max_length=MAX_ATTACHMENTS)] = msgspec.field(default_factory=list)


_plain = msgspec.json.Decoder(_Plain)
_event = msgspec.json.Decoder(_Event)
_texts = msgspec.json.Decoder(str | int)
_json = msgspec.json.Encoder()


class SocketCodec:
    """See `Codec`; `receive` takes a `parser.Call`.

    `offsets` adds a message's id to it as the last argument, from which a client comes back (Socket.IO 4.6). `allowed`
    are the events that may be emitted, `*` for all. The marks of commands are for answers to find their way back.
    """

    def __init__(
        self, revision: Revision, namespace: str, *, offsets: bool, allowed: Collection[str], max_size: int
    ) -> None:
        self._revision: Revision = revision
        self._offsets = offsets and revision == 4
        self._allowed = allowed
        self._max_size = max_size
        self._space = b"" if namespace == "/" else namespace.encode("ascii") + b","
        self._event = b"42" + self._space + b"["
        self.key = f"socketio{revision}{'+' if self._offsets else ''}{namespace}"

    def receive(self, frame: Frame) -> Command:
        """See `Codec.receive`."""
        assert isinstance(frame, Call)  # noqa: S101  # nobody else hands frames to a session of this gateway
        name, mark = frame.name, _ACK + frame.id if frame.id else ""
        if name == "join":
            return Move(_argument(frame), _JOIN + frame.id)
        if name == "presence":
            return Detect(_argument(frame), key=mark)
        if name == "error" or len(str(name)) > MAX_NAME:
            raise BadFrame("reserved_event" if name == "error" else "bad_event", about="event", key=mark)
        if "*" not in self._allowed and str(name) not in self._allowed:
            raise BadFrame("event_not_allowed", about="event", key=mark)
        return self._publish(frame, mark)

    def encode(self, event: events.Event) -> Frame:
        """See `Codec.encode`."""
        if isinstance(event, events.Message):
            return self._message(event)
        match event:
            case events.Welcome():
                return self._welcome(event)
            case events.Ack():
                return self._ack(event.key, {"id": str(event.id)})
            case events.Detected():
                told = self._emit(_json.encode(["presence", event.present])[1:-1])
                acknowledged = self._ack(event.key, event.present)
                return Bundle([told, acknowledged]) if acknowledged.data else told
            case events.Failure():
                return self._failure(event)
        return NOTHING

    def connect_error(self, code: str, text: str) -> Frame:
        """Write that a namespace cannot be entered."""
        refusal: Any = {"message": text, "data": {"code": code, "text": text}}
        if code == "bad_namespace":
            del refusal["data"]  # as the reference implementation has it
        return Frame(b"44" + self._space + _json.encode(refusal if self._revision == 4 else text))

    @property
    def disconnect(self) -> Frame:
        """What tells a client that it is out of the namespace, and is not to come back."""
        return Frame(b"41" + self._space)

    # In.

    def _publish(self, call: Call, mark: str) -> Publish:
        if call.name == "message" and len(call.arguments) == 1 and not call.attachments:
            channel = _channel_if_plain(call.data)
            if channel is not None:
                return Publish(call.data, (), channel, mark, once=False)
        attachments = b""
        if call.attachments:
            texts = [base64.b64encode(data).decode("ascii") for data in call.attachments]
            attachments = b',"attachments":' + _json.encode(texts)
        envelope = b'{"event":%b,"args":[%b]%b}' % (_json.encode(call.name), call.data, attachments)
        if attachments and len(envelope) > self._max_size:
            raise BadFrame("too_large", f"at most {self._max_size} bytes are relayed", about="event", key=mark)
        return Publish(envelope, key=mark, once=False)

    # Out.

    def _message(self, message: events.Message) -> Frame:
        text = unseal(message.body, message.sender, message.id)
        offset = b',"%d-%d"]' % message.id if self._offsets else b"]"
        if b'"event"' in text:
            event = _read_event(text)
            if event is not None:
                return self._relayed(event, offset)
        return self._text(self._event + b'"message",' + text + offset)

    def _relayed(self, event: "_Relayed", end: bytes) -> Frame:
        text = b",".join([event.name, *event.arguments]) + end
        if not event.attachments:
            return self._text(self._event + text)
        head = b"45%d-%b[" % (len(event.attachments), self._space)
        parts = [self._text(head + text)]
        return Bundle([*parts, *(attachment(data, self._revision) for data in event.attachments)])

    def _emit(self, text: bytes) -> Frame:
        return self._text(self._event + text + b"]")

    def _welcome(self, event: events.Welcome) -> Frame:
        if event.key.startswith(_JOIN):
            return self._ack(_ACK + event.key.removeprefix(_JOIN), {"room": event.room, "id": str(event.id)})
        if self._revision == 3:
            return Frame(b"40" + self._space)
        fields = {"sid": event.peer}
        if self._offsets:
            # A client takes its place for recovered if it is told the same private id again.
            fields["pid"] = event.key if event.recovered else f"{event.peer}.{event.resume}.{event.id}"
        return Frame(b"40" + self._space + _json.encode(fields))

    def _ack(self, mark: str, value: object) -> Frame:
        number = mark.removeprefix(_ACK)
        if not number or number == mark:
            return NOTHING
        return self._text(b"43%b%b[%b]" % (self._space, number.encode("ascii"), _json.encode(value)))

    def _failure(self, failure: events.Failure) -> Frame:
        mark = _ACK + failure.key.removeprefix(_JOIN) if failure.key.startswith(_JOIN) else failure.key
        if failure.about == "join" and not mark:
            return NOTHING if failure.code in RETRYABLE else self.connect_error(failure.code, failure.text)
        error: dict[str, Any] = {"code": failure.code, "text": failure.text} | failure.detail
        answer = NOTHING if failure.code in RETRYABLE else self._ack(mark, {"error": error})
        return answer if answer.data else self._emit(_json.encode(["error", error])[1:-1])

    def _text(self, text: bytes) -> Frame:
        return Frame(text if self._revision == 4 or text.isascii() else escaped(text))


class _Relayed(Struct):
    """An event as it is written again: JSON and bytes."""

    name: bytes
    arguments: Sequence[bytes]
    attachments: Sequence[bytes]


def escaped(json: bytes) -> bytes:
    """Return JSON that is ASCII; clients disagree on how long polling carries, and counts, anything else."""
    text = json.decode().encode("utf-16-be")
    units = [text[at] << 8 | text[at + 1] for at in range(0, len(text), 2)]
    return "".join([chr(unit) if unit < 128 else f"\\u{unit:04x}" for unit in units]).encode("ascii")


def _channel_if_plain(data: bytes) -> str | None:
    """The channel of an object that is an envelope as it stands; None for everything else."""
    try:
        head = _plain.decode(data)
    except msgspec.MsgspecError:
        return None
    if head.wanting:
        return None
    return "" if head.channel is None else str(head.channel)


def _read_event(text: bytes) -> _Relayed | None:
    """Read an envelope of the form that events have; None for one that clients would not survive, or not understand."""
    try:
        event = _event.decode(text)
        if event.event in RESERVED or event.event == "error":
            return None
        arguments = [bytes(value) for value in event.args]
        attachments = [base64.b64decode(data, validate=True) for data in event.attachments]
        if attachments:
            check_placeholders(arguments, len(attachments))
        return _Relayed(_json.encode(event.event), arguments, attachments)
    except (msgspec.MsgspecError, binascii.Error, BadPacket):
        return None


def _argument(call: Call) -> str:
    """The one argument of the relay's own events: a name, as text or number."""
    try:
        return str(_texts.decode(call.data))
    except msgspec.MsgspecError:
        raise BadFrame("bad_event", f"{call.name} takes one name", about="event", key=_mark(call)) from None


def _mark(call: Call) -> str:
    return _ACK + call.id if call.id else ""


def call_of(values: Sequence[bytes], number: str, attachments: Sequence[bytes]) -> Call:
    """Make of an event's array what a session receives; raises `BadPacket`."""
    if not values:
        raise BadPacket("an event without a name")
    return Call(read_name(values[0]), values[1:], number, attachments)
