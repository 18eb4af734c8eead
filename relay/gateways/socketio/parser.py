"""Socket.IO packets, which Engine.IO messages carry; revisions 5 and 4 of the protocol.

A packet is `type[attachments-][/namespace,][id][JSON]`. Its binary attachments follow as binary messages of their own,
in the order of the placeholders (`{"_placeholder":true,"num":0}`) that stand for them in the JSON.
Source: https://github.com/socketio/socket.io-protocol, whose branch `v4` has revision 4.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from relay.gateways.socketio.packets import BadPacket
from relay.model.envelope import MessageId
from relay.model.json_text import FRAME_NESTING, nests_deeper, without_lone_surrogates

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT, BINARY_ACK = range(7)

MAX_ATTACHMENTS: Final = 10
"""Binary attachments of one packet; the reference implementation has the same limit."""

MAX_NAME: Final = 255
"""Characters of an event's name."""

RESERVED_EVENTS: Final = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""Events that every client library emits itself, and that must never arrive from the other side."""

INHERITED_NAMES: Final = frozenset(
    {
        "__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__", "__proto__", "constructor",
        "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString", "toString", "valueOf",
    }
)  # fmt: skip
"""Properties of every JavaScript object. Old clients look an event's handlers up in one, and would call these."""

_HEAD: Final = re.compile(rb"([0-6])(?:(\d{0,9})-)?(?:(/[^,]*)(?:,|$))?(\d{1,15})?", re.DOTALL)
_WHITE_SPACE: Final = b" \t\r\n"
_INTEGER: Final = re.compile(rb"-?\d+")
_placeholder: Final = re.compile(
    rb'\{\s*"_placeholder"\s*:\s*true\s*,\s*"num"\s*:\s*(\d+)\s*\}'
    rb'|\{\s*"num"\s*:\s*(\d+)\s*,\s*"_placeholder"\s*:\s*true\s*\}'
)
"""No text in JSON contains it: there, the quotes would be escaped."""
_array = msgspec.json.Decoder(list[Raw])
_name = msgspec.json.Decoder(str | int)
_object = msgspec.json.Decoder(dict[str, Raw])
_any = msgspec.json.Decoder()


class SocketPacket(NamedTuple):
    """One whole packet.

    `values` are the elements of an event's or acknowledgement's array, each as JSON. `auth` is the object of a
    CONNECT packet, its values as JSON. If the JSON is `too_deep`, it is the only value, and was not read.
    """

    kind: int
    namespace: str
    id: str = ""
    values: Sequence[bytes] = ()
    auth: Mapping[str, bytes] | None = None
    attachments: Sequence[bytes] = ()
    too_deep: bool = False


class EmitKey(NamedTuple):
    """A key that the gateway has made for an event; an earlier use of it makes the event a repeat.

    Only a use after the id `repeats_after` counts.
    """

    key: str
    repeats_after: MessageId


class IncomingEvent:
    """An event as a session receives it; `data` is the JSON of its arguments, separated by commas.

    `channel` is that of a `message` whose one argument can be relayed as an envelope without change; None for all
    other events, which are wrapped in an envelope. An event that is `too_deep` has no name, and was not read. `key` is
    the key that the client gave, as JSON, or one that the gateway has made; None for neither.
    """

    __slots__ = ("attachments", "channel", "data", "id", "key", "name", "too_deep")

    def __init__(
        self,
        name: str | int,
        arguments: Sequence[bytes],
        id: str = "",
        attachments: Sequence[bytes] = (),
        channel: str | None = None,
        *,
        key: bytes | EmitKey | None = None,
        too_deep: bool = False,
    ) -> None:
        self.data = arguments[0] if len(arguments) == 1 else b",".join(arguments)
        self.channel = channel
        self.name = name
        self.id = id
        self.attachments = attachments
        self.key = key
        self.too_deep = too_deep


class PacketReader:
    """Reads the messages of one client, and returns a packet once all its attachments have arrived."""

    __slots__ = ("_attachments", "_expected", "_packet", "_size")

    def __init__(self) -> None:
        self._packet: SocketPacket | None = None
        self._expected = 0
        self._attachments: list[bytes] = []
        self._size = 0

    @property
    def awaits_attachments(self) -> bool:
        """Whether the next message must be an attachment."""
        return self._packet is not None

    def read(self, data: bytes, *, binary: bool, limit: int) -> SocketPacket | None:
        """Read one message; None while attachments of its packet are missing. Raises `BadPacket`.

        `limit` is in bytes, for all attachments of a packet together.
        """
        if binary:
            return self._attach(data, limit)
        if self._packet is not None:
            raise BadPacket("text instead of an attachment")
        head = _HEAD.match(data)
        if head is None:
            raise BadPacket("an unknown packet type")
        kind = int(head[1])
        packet = _read_packet(kind, _namespace(head[3]), (head[4] or b"").decode(), data[head.end() :])
        if kind not in (BINARY_EVENT, BINARY_ACK):
            if head[2] is not None:
                raise BadPacket("attachments of a packet type that has none")
            return packet
        # The reference implementation reads a number that is left out as 0.
        if head[2] is None or int(head[2] or 0) > MAX_ATTACHMENTS:
            raise BadPacket(f"more than {MAX_ATTACHMENTS} attachments, or no number of them")
        self._expected = int(head[2] or 0)
        if not packet.too_deep:
            check_placeholders(packet.values, self._expected)
        if not self._expected:
            return packet
        self._packet = packet
        return None

    def _attach(self, data: bytes, limit: int) -> SocketPacket | None:
        packet = self._packet
        if packet is None:
            raise BadPacket("an attachment without a packet")
        self._size += len(data)
        if self._size > limit:
            raise BadPacket(f"attachments of more than {limit} bytes")
        self._attachments.append(data)
        if len(self._attachments) < self._expected:
            return None
        complete = packet._replace(attachments=self._attachments)
        self._packet, self._attachments, self._size = None, [], 0
        return complete


def read_name(value: bytes) -> str | int:
    """Read an event's name, text or integer, from its JSON; raises `BadPacket`."""
    if len(value) > MAX_NAME and _INTEGER.fullmatch(value):
        # Too long for a name, which the codec answers; Python converts no more than a few thousand digits.
        return value.decode()
    try:
        name: str | int = _name.decode(value)
    except msgspec.MsgspecError:
        raise BadPacket("an event without a name") from None
    if name in RESERVED_EVENTS:
        raise BadPacket("a reserved event")
    return name


def check_placeholders(values: Sequence[bytes], count: int) -> None:
    """Check that each placeholder stands for one of `count` attachments; raises `BadPacket`.

    Client libraries replace the placeholder by the attachment at `num`; old ones do so without a check.
    """
    # Only an escape in a string can hide the name.
    values = [value for value in values if b"_placeholder" in value or b"\\" in value]
    try:
        pending = [_any.decode(value) for value in values]
    except msgspec.MsgspecError:
        raise BadPacket("arguments that cannot be read") from None
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending.extend([one for one in value if isinstance(one, list | dict)])
        elif isinstance(value, dict):
            number = value.get("num")
            if value.get("_placeholder") is True and not (type(number) is int and 0 <= number < count):
                raise BadPacket("a placeholder without an attachment")
            pending.extend([one for one in value.values() if isinstance(one, list | dict)])


def compact_placeholders(value: bytes) -> bytes:
    """Write each placeholder in JSON as JavaScript does: rust_socketio finds no other form of it."""
    return _placeholder.sub(_compact, value)


def _compact(found: re.Match[bytes]) -> bytes:
    return b'{"_placeholder":true,"num":%b}' % (found[1] or found[2])


def _namespace(name: bytes | None) -> str:
    if name is None:
        return "/"
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise BadPacket("a namespace that is not UTF-8") from None


def _read_packet(kind: int, namespace: str, number: str, json: bytes) -> SocketPacket:
    # An array around an envelope may have one level more than the envelope.
    too_deep = nests_deeper(json, FRAME_NESTING)
    try:
        if kind in (EVENT, BINARY_EVENT, ACK, BINARY_ACK):
            if too_deep:
                return SocketPacket(kind, namespace, number, [json], too_deep=True)
            return SocketPacket(kind, namespace, number, [bytes(value) for value in _array.decode(json)])
        if kind == CONNECT and not too_deep:
            auth = _object.decode(json) if json.strip(_WHITE_SPACE) else {}
            return SocketPacket(kind, namespace, auth={name: bytes(value) for name, value in auth.items()})
        if kind == DISCONNECT and not json.strip(_WHITE_SPACE):
            return SocketPacket(kind, namespace)
    except msgspec.MsgspecError:
        # Most often the JSON is sound but for half a character in a string, see `json_text`.
        repaired = without_lone_surrogates(json)
        if repaired != json:
            return _read_packet(kind, namespace, number, repaired)
    raise BadPacket("JSON that this packet type does not have")
