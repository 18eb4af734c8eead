"""The bridge between WebSync publications and the envelopes of all other clients.

On the shared channel, pages of the seed's kind publish `{"username": SENDER, "text": TEXT}`, where TEXT is the JSON of
`{"message": …, "channel": …}`: in the room, that is the envelope `{"sender", "channel", "message"}`, and back. Data of
any other form, and on other channels, is the message of an envelope whose channel is that of the publication.
"""

from typing import Final, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from relay.gateways.websync.channels import NOTIFY, is_ordinary
from relay.model.envelope import read_envelope
from relay.model.errors import BadFrame
from relay.model.events import Message
from relay.model.json_text import check_nesting
from relay.model.names import unescape

_encode: Final = msgspec.json.Encoder().encode
_LABELS: Final = b'"-0123456789tf'
"""First bytes of JSON values that name a channel."""


class _Wrapped(Struct, forbid_unknown_fields=True):
    text: str
    username: Raw | UnsetType = UNSET


class _Inner(Struct, forbid_unknown_fields=True):
    message: Raw
    channel: Raw


class ChannelPublication(NamedTuple):
    """A publication on a WebSync channel: its data as JSON."""

    channel: str
    data: bytes


_wrapped: Final = msgspec.json.Decoder(_Wrapped)
_inner: Final = msgspec.json.Decoder(_Inner)
_fields: Final = msgspec.json.Decoder(dict[str, Raw])


def to_envelope(channel: str, data: bytes, shared: str) -> bytes:
    """Return the envelope of a publication; `shared` is the channel that WebSync pages share with other clients."""
    unwrapped = _unwrap(data) if channel == shared else None
    return unwrapped or b'{"channel":%b,"message":%b}' % (_encode(channel), data)


def to_notification(data: bytes, receiver: str) -> bytes:
    """Return the envelope that brings data to one peer, whose escaped id this is."""
    return b'{"to":%b,"channel":%b,"message":%b}' % (_encode(receiver), _encode(NOTIFY), data)


def from_message(message: Message, shared: str) -> ChannelPublication:
    """Return a message of the room as a publication, or as a notification (channel `/meta/notify`)."""
    fields = _fields.decode(message.envelope)
    # A sender of another protocol must not speak in the name of the relay, on channels of the protocol itself.
    if (message.channel == NOTIFY and message.to) or is_ordinary(message.channel):
        return ChannelPublication(message.channel, bytes(fields.get("message", b"null")))
    username = bytes(fields.get("sender", b"")) or _encode(unescape(message.sender))
    if fields.keys() <= {"sender", "channel", "message"} and fields.keys() >= {"channel", "message"}:
        text = b'{"message":%b,"channel":%b}' % (bytes(fields["message"]), bytes(fields["channel"]))
    else:
        text = message.envelope
    return ChannelPublication(shared, b'{"username":%b,"text":%b}' % (username, _encode(text.decode())))


def _unwrap(data: bytes) -> bytes | None:
    """Return the envelope in data of the seed's kind; None for any other data, which is not changed."""
    try:
        outer = _wrapped.decode(data)
        text = outer.text.encode()
        check_nesting(text)
        inner = _inner.decode(text)
    except (msgspec.MsgspecError, BadFrame):
        return None
    channel = bytes(inner.channel)
    # Its way back would be that of a publication on this channel.
    if channel[:1] not in _LABELS or channel.startswith((b'"/', b'"\\/')):
        return None
    sender = b"" if outer.username is UNSET else b'"sender":%b,' % bytes(outer.username)
    envelope = b'{%b"channel":%b,"message":%b}' % (sender, channel, bytes(inner.message))
    try:
        read_envelope(envelope)
    except BadFrame:
        return None
    return envelope
