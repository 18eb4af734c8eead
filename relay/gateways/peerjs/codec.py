"""The codec of PeerJS: JSON objects with a `type` in text frames, whose payloads are copied byte for byte."""

from functools import lru_cache
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from relay.model import events
from relay.model.codec import NOTHING, Frame
from relay.model.commands import Command, GatewayCommand, Leave, Publish
from relay.model.envelope import MessageId, read_envelope
from relay.model.errors import JOIN_CLOSES, BadFrame, Refused
from relay.model.explanations import explain
from relay.model.json_text import SHALLOW_BYTES, check_nesting, read_leniently
from relay.model.names import MAX_ESCAPED, escape_peer, unescape

CHANNEL: Final = "peerjs"
"""The channel of offers, answers, candidates and goodbyes."""

RELAY: Final = "RELAY"
"""The type of frames that carry an envelope of the room, in both directions; PeerJS leaves them to the page."""

RELAY_ERROR: Final = "RELAY-ERROR"
"""The type of frames with an error of the relay. PeerJS would end the peer on its own type `ERROR`."""

LEAVE: Final = "LEAVE"

_SIGNALS: Final = frozenset({"OFFER", "ANSWER", "CANDIDATE", LEAVE})
_SHOWN_TYPE: Final = 40
_MOST_NAMES: Final = 1024
"""Names of peers that are remembered with their escaped form: a call has some twenty messages of the same two peers."""

_TAKEN: Final = frozenset({"peer_taken", "too_many_attempts"})
"""Codes for a place of another client: with a wrong token, and after too many of these."""

_NOT_TOLD: Final = frozenset({"room_full", "too_many_places"})
"""Codes of full rooms: PeerServer ends the peer, although a later attempt could succeed."""


class Signal(Publish, frozen=True):
    """A message from one `Peer` to another; `kind` is its type."""

    kind: str = ""

    @property
    def dst(self) -> str:
        """The escaped id of the receiver."""
        return self.to[0]


class StillAlive(GatewayCommand):
    """The client lives; nothing follows from it, as the relay pings the connection itself."""

    __slots__ = ()

    about = "heartbeat"


class _Frame(Struct):
    type: str = ""
    dst: Annotated[str, Meta(max_length=MAX_ESCAPED)] | None = None
    payload: Raw | UnsetType = UNSET


class _Message(Struct):
    """The message of an envelope in the channel, as both sides write it."""

    type: str = ""
    payload: Raw | UnsetType = UNSET


class _Envelope(Struct):
    message: Raw | UnsetType = UNSET
    connection: Raw | UnsetType = msgspec.field(name="connectionId", default=UNSET)


class _Signaled(Struct):
    message: _Message


class _Payload(Struct, frozen=True):
    connection: str = msgspec.field(name="connectionId", default="")


class _Carried(Struct, frozen=True):
    payload: _Payload = _Payload()


class _Sent(Struct):
    message: _Carried = _Carried()


_frames = msgspec.json.Decoder(_Frame)
_messages = msgspec.json.Decoder(_Message)
_envelopes = msgspec.json.Decoder(_Envelope)
_signaled = msgspec.json.Decoder(_Signaled)
_sent = msgspec.json.Decoder(_Sent)
_encode = msgspec.json.Encoder().encode

_OPEN: Final = Frame(b'{"type":"OPEN"}')


class MessageFrame(Frame):
    """A message of the room, and its id there."""

    __slots__ = ("id",)

    def __init__(self, data: bytes, message_id: MessageId) -> None:
        super().__init__(data)
        self.id = message_id


class PeerJSCodec:
    """The `Codec` of PeerJS."""

    key: Final = "peerjs"

    def decode(self, frame: Frame) -> Command:
        """Read one frame; raises `BadFrame`, which the client gets in a frame that PeerJS leaves to the page."""
        if not frame.is_text:
            raise BadFrame("binary_frame")
        return read_leniently(_decode, frame.data)

    def encode(self, event: events.Event) -> Frame:
        """Write messages, and PeerServer's words about a client's own place; nothing about other members."""
        if isinstance(event, events.Message):
            return MessageFrame(_signal(event) or _relayed(event), event.id)
        match event:
            case events.Welcome():
                return _OPEN
            case events.Failure(about="join"):
                return _refusal(event)
            case events.Failure():
                return _write(RELAY_ERROR, _error(event))
            case _:
                return NOTHING


def expire(absent: str, sender: str) -> Frame:
    """Write that a peer is not there, and did not come; both ids are escaped."""
    return Frame(b'{"type":"EXPIRE","src":%b,"dst":%b}' % (_encode(unescape(absent)), _encode(unescape(sender))))


def connection_id(signal: Signal) -> str:
    """Return the id of the connection to which a signal belongs; "" if its payload names none."""
    try:
        return _sent.decode(signal.envelope).message.payload.connection
    except msgspec.MsgspecError:
        return ""


def stored_signal(envelope: bytes, dst: str, key: str) -> Signal:
    """Make the signal anew whose envelope was stored, with the key that it was sent with; `dst` is escaped."""
    try:
        message = _envelopes.decode(envelope).message
        kind = "" if message is UNSET else _messages.decode(message).type
    except msgspec.MsgspecError:
        kind = ""
    return Signal(envelope, (dst,), CHANNEL, key=key, kind=kind)


# From the client.


def _decode(data: bytes) -> Command:
    if len(data) > SHALLOW_BYTES:
        check_nesting(data)
    try:
        frame = _frames.decode(data)
    except msgspec.ValidationError as error:
        raise BadFrame("bad_command", explain(error)) from None
    except msgspec.DecodeError as error:
        raise BadFrame("bad_json", explain(error)) from None
    if frame.type in _SIGNALS:
        return _read_signal(frame)
    if frame.type == "HEARTBEAT":
        return StillAlive()
    if frame.type == RELAY:
        return _read_relayed(frame)
    shown = frame.type if len(frame.type) <= _SHOWN_TYPE else f"{frame.type[:_SHOWN_TYPE]}…"
    known = ", ".join(sorted({*_SIGNALS, RELAY, "HEARTBEAT"}))
    raise BadFrame("unknown_command", f'the relay has no message of the type "{shown}"; it knows {known}')


def _read_signal(frame: _Frame) -> Command:
    if not frame.dst:
        if frame.type == LEAVE:
            return Leave()
        raise BadFrame("bad_command", f"{frame.type} needs a dst", about=frame.type)
    dst = _peer(frame.dst, frame.type)
    payload = b"" if frame.payload is UNSET else b',"payload":%b' % bytes(frame.payload)
    envelope = b'{"to":"%b","channel":"%b","message":{"type":"%b"%b}}' % (
        dst.encode("ascii"), CHANNEL.encode(), frame.type.encode(), payload,
    )  # fmt: skip
    if len(envelope) > SHALLOW_BYTES:
        check_nesting(envelope)
    return Signal(envelope, (dst,), CHANNEL, kind=frame.type)


def _read_relayed(frame: _Frame) -> Command:
    text = b"" if frame.payload is UNSET else bytes(frame.payload).strip(b" \t\r\n")
    if not text.startswith(b"{"):
        raise BadFrame("bad_envelope", "the payload of RELAY is an envelope, an object", about="envelope")
    publish = read_envelope(text)
    if not frame.dst:
        return publish
    if publish.to:
        text_ = "RELAY names its receiver in dst, or its envelope does in to, but not both"
        raise BadFrame("bad_envelope", text_, about="envelope", key=publish.key)
    dst, rest = _peer(frame.dst, "envelope"), text[1:].lstrip(b" \t\r\n")
    comma = b"" if rest == b"}" else b","
    envelope = b'{"to":"%b"%b%b' % (dst.encode("ascii"), comma, rest)
    return Publish(envelope, (dst,), publish.channel, publish.key)


def _peer(text: str, about: str) -> str:
    try:
        return _escaped(text)
    except Refused as error:
        raise BadFrame(error.code, f"dst: {error.text}", about=about) from None


@lru_cache(maxsize=_MOST_NAMES)
def _escaped(peer: str) -> str:
    return escape_peer(peer)


@lru_cache(maxsize=_MOST_NAMES)
def _id(peer: str) -> bytes:
    """Return the id of an escaped peer as JSON."""
    return _encode(unescape(peer))


# To the client.


def _signal(event: events.Message) -> bytes | None:
    """Write a message of the channel with a receiver; None for one that PeerJS does not know."""
    if event.channel != CHANNEL or not event.to:
        return None
    try:
        message = _signaled.decode(event.envelope).message
    except msgspec.MsgspecError:
        return None
    if message.type not in _SIGNALS:
        return None
    payload = b"" if message.payload is UNSET else b',"payload":%b' % bytes(message.payload)
    return b'{"type":"%b","src":%b,"dst":%b%b}' % (
        message.type.encode(), _id(event.sender), _id(event.to[0]), payload,
    )  # fmt: skip


def _relayed(event: events.Message) -> bytes:
    """Write an envelope for the page.

    PeerJS keeps a payload with a `connectionId` for a connection to come, for ever. Such an envelope is one level
    deeper.
    """
    envelope = event.envelope
    if b"onnectionI" in envelope or b"\\u" in envelope:
        try:
            hidden = _envelopes.decode(envelope).connection is not UNSET
        except msgspec.MsgspecError:
            hidden = True
        if hidden:
            envelope = b'{"envelope":%b}' % envelope
    return b'{"type":"%b","src":%b,"payload":%b}' % (RELAY.encode(), _id(event.sender), envelope)


def _refusal(failure: events.Failure) -> Frame:
    """Write why a client may not have its place, but no cause that may pass: PeerJS would end the peer for good."""
    if failure.code in _TAKEN:
        return _write("ID-TAKEN", {"msg": "ID is taken"})
    if failure.code in JOIN_CLOSES and JOIN_CLOSES[failure.code].reconnect and failure.code not in _NOT_TOLD:
        return NOTHING
    return _write("ERROR", {"msg": failure.text, "code": failure.code})


def _error(failure: events.Failure) -> dict[str, object]:
    about = {"about": failure.about} if failure.about else {}
    key = {"key": failure.key} if failure.key else {}
    return {"code": failure.code, "text": failure.text, **about, **key, **failure.detail}


def _write(kind: str, payload: dict[str, object]) -> Frame:
    return Frame(_encode({"type": kind, "payload": payload}))
