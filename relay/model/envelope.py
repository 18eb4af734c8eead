"""Envelopes on their way: ids, publications, and the bytes that go over the wire.

An envelope is forwarded byte for byte. What the relay adds is spliced in before the closing brace: `from` when it is
published, `id` when its place in the room is known, `room` where a codec asks for it.
"""

from typing import Annotated, NamedTuple, Self

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from relay.model.commands import Publish
from relay.model.errors import BadFrame, Refused
from relay.model.json_text import FRAME_NESTING, check_nesting, nests_deeper, too_deep
from relay.model.names import check_peer

MAX_ADDRESSEES = 100
MAX_CHANNEL = 255
MAX_KEY = 64

Key = Annotated[str, Meta(max_length=MAX_KEY)]
Channel = Annotated[str, Meta(max_length=MAX_CHANNEL)]


class MessageId(NamedTuple):
    """A place in a room's sequence, written `epoch-seq`; later ids compare greater.

    A new epoch begins when the room's state was lost: ids of different epochs say nothing about what lies between.
    """

    epoch: int
    seq: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `epoch-seq`; raise ValueError for anything else."""
        epoch, dash, seq = text.partition("-")
        if not (dash and epoch.isascii() and seq.isascii() and epoch.isdigit() and seq.isdigit() and len(text) <= 40):
            raise ValueError(f"not a message id: {text!r}")
        return cls(int(epoch), int(seq))

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"


BEFORE_ALL = MessageId(0, 0)
"""Older than every id that is given."""


class MembershipVersion(NamedTuple):
    """As of when a sender's place was confirmed: a room's membership has versions, which grow within an epoch.

    While the version stands, nobody's place was taken over or given up, and no claim has to be looked at again.
    """

    number: int = 0
    epoch: int = 0


class Publication(Struct, frozen=True):
    """A `Publish` command on its way to the bus, with what the worker knows of its sender.

    `room` is the room it goes to (that of the command may be "", for the connection's own). `sender` is the peer id
    that the relay vouches for, `generation` the sender's claim to it (0: not a member, there is no claim to check),
    `version` is from the sender's last `Receipt`, or from its join. `seen` is the newest id that the worker has seen
    in the room.
    """

    command: Publish
    room: str
    sender: str
    generation: int = 0
    version: MembershipVersion = MembershipVersion()
    seen: MessageId = BEFORE_ALL

    @property
    def key(self) -> str:
        """The key under which the envelope is published at most once; "" if it may be published again."""
        return self.command.key if self.command.once else ""


class Receipt(Struct, frozen=True):
    """A publication's id (`epoch-seq`), and whether it was a repeat: delivered under that id before, and not again.

    `version`, where there is one, is for the sender's next publication.
    """

    text: bytes
    repeat: bool = False
    version: MembershipVersion | None = None

    @property
    def id(self) -> MessageId:
        """The id; read on demand, as most publishers never ask."""
        return read_id(self.text)


def read_id(text: bytes) -> MessageId:
    """Read an id that the relay itself has written."""
    epoch, _, seq = text.partition(b"-")
    return MessageId(int(epoch), int(seq))


def splice(envelope: bytes, sender: str) -> bytes:
    """Open `envelope` (a JSON object) at its end for what the relay adds; `seal` closes it.

    Returns the object's text less its closing brace, and `"from":"…","id":"`.
    """
    if envelope.endswith(b'"}'):
        # As nearly all of them end; what follows is for the others.
        return b'%s,"from":"%s","id":"' % (envelope[:-1], sender.encode("ascii"))
    head = envelope.rstrip(b" \t\r\n")[:-1].rstrip(b" \t\r\n")
    comma = b"" if head.endswith(b"{") and head.lstrip(b" \t\r\n") == b"{" else b","
    return b'%s%s"from":"%s","id":"' % (head, comma, sender.encode("ascii"))


def seal(body: bytes, message_id: MessageId) -> bytes:
    """Add the id to what `splice` returned; only the closing brace is missing then, so that a codec may add more."""
    return b'%s%d-%d"' % (body, message_id.epoch, message_id.seq)


def unseal(body: bytes) -> tuple[bytes, bytes]:
    """Undo `splice` and `seal`: the envelope as it was, but for white space at its end, and the text of its id."""
    head, _, added = body.rpartition(b'"from":"')
    return head.removesuffix(b",") + b"}", added[added.index(b'"id":"') + 6 : -1]


class _Head(Struct):
    """The fields of an envelope that the relay reads; all others are only checked for being JSON."""

    type: Raw | UnsetType = UNSET
    sender: Raw | UnsetType = msgspec.field(name="from", default=UNSET)
    id: Raw | UnsetType = UNSET
    room: Raw | UnsetType = UNSET
    to: str | Annotated[list[str], Meta(min_length=1, max_length=MAX_ADDRESSEES)] | None = None
    channel: Channel | int | None = None
    key: Key | None = None


class _Typed(Struct):
    type: Raw | UnsetType = UNSET


_heads = msgspec.json.Decoder(_Head)
_typed = msgspec.json.Decoder(_Typed)


def read_envelope(text: bytes) -> Publish:
    """Read an envelope from its JSON text, and say how it is to be published.

    Raises `BadFrame`: `bad_json`, `bad_envelope`, `reserved_field` or `bad_peer`. An envelope with a `type` would pass
    for an event of the relay's own, and is refused as well.
    """
    try:
        # The parser does not look into strings that nobody asks for.
        text.decode()
    except UnicodeDecodeError as error:
        raise BadFrame("bad_json", str(error), about="envelope") from None
    check_nesting(text)
    return _publish(_decode(text), text)


def read_frame(text: bytes) -> Publish | None:
    """As `read_envelope`, of what is known to be UTF-8.

    An object with a `type` is no envelope: None, and nothing else of it was looked at.
    """
    deep = nests_deeper(text)
    if deep:
        # A command around an envelope may have one level more.
        check_nesting(text, FRAME_NESTING)
    try:
        head = _decode(text)
    except BadFrame as error:
        if error.code == "bad_envelope" and _is_command(text):
            return None
        raise
    if head.type is not UNSET:
        return None
    if deep:
        raise too_deep()
    return _publish(head, text)


def _is_command(text: bytes) -> bool:
    try:
        return _typed.decode(text).type is not UNSET
    except msgspec.MsgspecError:
        return False


def _decode(text: bytes) -> _Head:
    try:
        return _heads.decode(text)
    except msgspec.ValidationError as error:
        raise BadFrame("bad_envelope", str(error), about="envelope") from None
    except msgspec.DecodeError as error:
        raise BadFrame("bad_json", str(error), about="envelope") from None


def _publish(head: _Head, text: bytes) -> Publish:
    key = head.key or ""
    if not (head.type is UNSET and head.sender is UNSET and head.id is UNSET and head.room is UNSET):
        raise BadFrame("reserved_field", about="envelope", key=key)
    to = () if head.to is None else _addressees(head.to, key)
    channel = "" if head.channel is None else str(head.channel)
    if len(channel) > MAX_CHANNEL:
        raise BadFrame("bad_envelope", f"channel has at most {MAX_CHANNEL} digits", about="envelope", key=key)
    return Publish(text, to, channel, key)


def _addressees(to: str | list[str], key: str) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(check_peer(peer) for peer in ([to] if isinstance(to, str) else to)))
    except Refused as error:
        raise BadFrame(error.code, f"to: {error.text}", about="envelope", key=key) from None
