"""Envelopes on their way: reading them, ids, publications, and the bytes that go over the wire.

An envelope is forwarded byte for byte; it is never parsed and written again. The relay adds fields in front of the
closing brace: `from` when it is published (`splice`), `id` when its position in the room is known (`seal`), and `room`
where a codec wants it. So `{"a":1}` becomes `{"a":1,"from":"alice","id":"17-4"}`.
"""

from contextlib import suppress
from typing import Final, NamedTuple, Self

import msgspec
from msgspec import UNSET

from relay.model.channels import SHORT_LABEL, label
from relay.model.commands import Publish
from relay.model.envelope_head import MAX_ADDRESSEES, EnvelopeFields, LabelledHead, TypedHead, UnlabelledHead
from relay.model.errors import BadFrame, Refused
from relay.model.explanations import explain, explain_encoding
from relay.model.json_text import FRAME_NESTING, SHALLOW_BYTES, check_nesting, levels_exceed, nests_deeper, too_deep
from relay.model.names import check_peer


class MessageId(NamedTuple):
    """A position in a room's order, written `epoch-sequence`; later ids compare greater.

    A new epoch begins when the room's state was lost. Between ids of different epochs, any number of events may be
    missing.
    """

    epoch: int
    seq: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `epoch-sequence`; raise ValueError for anything else."""
        epoch, dash, seq = text.partition("-")
        if not (dash and epoch.isascii() and seq.isascii() and epoch.isdigit() and seq.isdigit() and len(text) <= 40):
            raise ValueError(f"not a message id: {text!r}")
        return cls(int(epoch), int(seq))

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"

    def encode(self) -> bytes:
        """Return the text as bytes; faster than by way of `str`."""
        return b"%d-%d" % self


BEFORE_ALL: Final = MessageId(0, 0)
"""Less than every id of an event."""


class MembershipVersion(NamedTuple):
    """The version of a room's memberships at which a sender's claim to its own was checked.

    The number grows within an epoch, whenever a membership may have ended or been taken over. While it is unchanged,
    the claim holds and need not be checked again.
    """

    number: int = 0
    epoch: int = 0


_pairs: Final = msgspec.json.Decoder(MessageId)
"""Makes an id of two numbers in C: the constructor of a named tuple is a function of Python."""


def read_id(text: bytes) -> MessageId:
    """Parse an id that the relay itself wrote; faster than `MessageId.parse`, and without its checks."""
    return _pairs.decode(b"[%b]" % text.replace(b"-", b","))


def splice(envelope: bytes, sender: str) -> bytes:
    """Return `envelope`, a JSON object, without its closing brace and with `"from":"SENDER","id":"`; `seal` goes on.

    Peer ids need no escaping (see `names`).
    """
    if envelope.endswith(b'"}'):
        # Nearly all envelopes end in a string: these have a field, and no white space at the end.
        return b'%s,"from":"%s","id":"' % (envelope[:-1], sender.encode("ascii"))
    head = envelope.rstrip(b" \t\r\n")[:-1].rstrip(b" \t\r\n")
    comma = b"" if head.endswith(b"{") and head.lstrip(b" \t\r\n") == b"{" else b","
    return b'%s%s"from":"%s","id":"' % (head, comma, sender.encode("ascii"))


def seal(body: bytes, message_id: MessageId) -> bytes:
    """Add the id to a result of `splice`; the closing brace is still missing, so that a codec can add more fields."""
    return b'%s%d-%d"' % (body, message_id.epoch, message_id.seq)


def unseal(body: bytes) -> bytes:
    """Undo `splice` and `seal`: return the envelope, without white space at its end."""
    # The last occurrence: strings in the envelope may look the same, but those stand before it.
    return body.rpartition(b'"from":"')[0].removesuffix(b",") + b"}"


_UNSET: Final = msgspec.UNSET
"""A constant of this module is found without looking for its name, in the compiled build."""

_LARGE: Final = 4096
"""Bytes from which on a list in an envelope could have so many parts that reading them takes long."""

_heads: Final = msgspec.json.Decoder(LabelledHead)
_unlabelled: Final = msgspec.json.Decoder(UnlabelledHead)
_typed: Final = msgspec.json.Decoder(TypedHead)
_fields: Final = msgspec.json.Decoder(EnvelopeFields)


def read_envelope(text: bytes) -> Publish:
    """Read an envelope's JSON text and return the command that publishes it.

    Raises `BadFrame`: `bad_json`, `bad_envelope`, `reserved_field` or `bad_peer`. A `type` is reserved: an envelope
    with one would look like an event of the relay itself.
    """
    try:
        # msgspec does not check the UTF-8 of strings in fields that it skips.
        text.decode()
    except UnicodeDecodeError as error:
        raise BadFrame("bad_json", explain_encoding(error), about="envelope") from None
    check_nesting(text)
    return _publish(_decode(text), text)


def read_frame(text: bytes) -> Publish | None:
    """Read a frame that is known to be UTF-8, as `read_envelope` does; return None for an object with a `type`.

    Such an object is a command. Nothing else of it was checked.
    """
    deep = len(text) > SHALLOW_BYTES and nests_deeper(text)
    if deep and levels_exceed(text, FRAME_NESTING):
        # A command around an envelope may have one level more.
        raise too_deep()
    try:
        head = _decode(text)
    except BadFrame as error:
        if error.code == "bad_envelope" and _is_command(text):
            return None
        raise
    if head.type is not _UNSET:
        return None
    if deep:
        raise too_deep()
    return _publish(head, text)


def _is_command(text: bytes) -> bool:
    try:
        return _typed.decode(text).type is not UNSET
    except msgspec.MsgspecError:
        return False


def _decode(text: bytes) -> LabelledHead | UnlabelledHead:
    try:
        if len(text) > _LARGE:
            text = _excerpt(text)
        return _heads.decode(text)
    except msgspec.ValidationError as error:
        with suppress(msgspec.ValidationError):
            return _unlabelled.decode(text)
        raise BadFrame("bad_envelope", explain(error), about="envelope") from None
    except msgspec.DecodeError as error:
        raise BadFrame("bad_json", explain(error), about="envelope") from None


def _excerpt(text: bytes) -> bytes:
    """Return an envelope with those fields alone that `_decode` reads, and without lists that it would refuse."""
    fields = _fields.decode(text)
    parts = []
    for name, field in zip(_fields.type.__struct_encode_fields__, msgspec.structs.astuple(fields), strict=True):
        if field is UNSET:
            continue
        raw = bytes(field)
        if name == "to" and raw.count(b'"') > 2 * MAX_ADDRESSEES:
            raise BadFrame("bad_envelope", f"to has more than {MAX_ADDRESSEES} receivers", about="envelope")
        if name == "channel" and raw.startswith((b"{", b"[")):
            raw = b"{}"
        elif name not in {"to", "key", "channel"}:
            raw = b"0"
        parts.append(b'"%b":%b' % (name.encode(), raw))
    return b"{%b}" % b",".join(parts)


def _publish(head: LabelledHead | UnlabelledHead, text: bytes) -> Publish:
    key = head.key or ""
    if not (head.type is _UNSET and head.sender is _UNSET and head.id is _UNSET and head.room is _UNSET):
        raise BadFrame("reserved_field", about="envelope", key=key)
    to = () if head.to is None else _addressees(head.to, key)
    channel = head.channel
    # Nearly all channels are short text, which is its own label.
    if type(channel) is not str or len(channel) > SHORT_LABEL:
        channel = _label(head, key)
    return Publish(text, to, channel, key)


def _label(head: LabelledHead | UnlabelledHead, key: str) -> str:
    try:
        return label(head.channel) if isinstance(head, LabelledHead) else ""
    except Refused as error:
        raise BadFrame(error.code, error.text, about="envelope", key=key) from None


def _addressees(to: str | list[str], key: str) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(check_peer(peer) for peer in ([to] if isinstance(to, str) else to)))
    except Refused as error:
        raise BadFrame(error.code, f"to: {error.text}", about="envelope", key=key) from None
