"""Socket.IO packets: what stands in the messages of Engine.IO; revisions 5 and 4 of the protocol.

`type[attachments-][/namespace,][id][JSON]`; of a packet that has attachments, each follows as a binary message, in the
order of the placeholders in the JSON.
"""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from relay.gateways.socketio.packets import BadPacket
from relay.model.codec import Frame
from relay.model.json_text import without_lone_surrogates

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT, BINARY_ACK = range(7)

MAX_ATTACHMENTS: Final = 10
"""Binary attachments of one packet; as many as the reference implementation takes."""

MAX_NAME: Final = 255
"""Characters of an event's name."""

RESERVED: Final = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""Event names that mean something to every client's library, and never come from the other side."""

INHERITED: Final = frozenset(
    {
        "__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__", "__proto__", "constructor",
        "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString", "toString", "valueOf",
    }
)  # fmt: skip
"""What every object has in JavaScript, in which old clients look for the handlers of an event."""

_HEAD: Final = re.compile(rb"([0-6])(?:(\d{1,9})-)?(?:(/[^,]*)(?:,|$))?(\d{1,15})?", re.DOTALL)
_array = msgspec.json.Decoder(list[Raw])
_name = msgspec.json.Decoder(str | int)
_object = msgspec.json.Decoder(dict[str, Any])
_any = msgspec.json.Decoder()


class SocketPacket(NamedTuple):
    """One whole packet; `values` are the elements of an event's or acknowledgement's array, each as JSON."""

    kind: int
    namespace: str
    id: str = ""
    values: Sequence[bytes] = ()
    auth: dict[str, Any] | None = None
    attachments: Sequence[bytes] = ()


class IncomingEvent(Frame):
    """An event as a session receives it: `data` is its arguments' JSON, comma-separated.

    Of a `message` that is an envelope as it stands, `channel` is known; None for anything else.
    """

    __slots__ = ("arguments", "attachments", "channel", "id", "name")

    def __init__(
        self,
        name: str | int,
        arguments: Sequence[bytes],
        id: str = "",
        attachments: Sequence[bytes] = (),
        channel: str | None = None,
    ) -> None:
        super().__init__(arguments[0] if len(arguments) == 1 else b",".join(arguments))
        self.channel = channel
        self.name = name
        self.arguments = arguments
        self.id = id
        self.attachments = attachments


class PacketReader:
    """Reads a client's messages; holds a packet back until its attachments are there. Raises `BadPacket`."""

    __slots__ = ("_attachments", "_awaited", "_parcel", "_size")

    def __init__(self) -> None:
        self._parcel: SocketPacket | None = None
        self._awaited = 0
        self._attachments: list[bytes] = []
        self._size = 0

    @property
    def waiting(self) -> bool:
        """Whether attachments are to come."""
        return self._parcel is not None

    def read(self, data: bytes, *, binary: bool, limit: int) -> SocketPacket | None:
        """Take one message; None while more belongs to it. Attachments may have `limit` bytes together."""
        if binary:
            return self._attach(data, limit)
        if self._parcel is not None:
            raise BadPacket("text where an attachment was to come")
        head = _HEAD.match(data)
        if head is None:
            raise BadPacket("an unknown packet type")
        kind = int(head[1])
        parcel = _parcel(kind, _namespace(head[3]), (head[4] or b"").decode(), data[head.end() :])
        if kind not in (BINARY_EVENT, BINARY_ACK):
            if head[2] is not None:
                raise BadPacket("attachments of a packet that has none")
            return parcel
        if head[2] is None or int(head[2]) > MAX_ATTACHMENTS:
            raise BadPacket(f"more than {MAX_ATTACHMENTS} attachments, or no number of them")
        self._awaited = int(head[2])
        check_placeholders(parcel.values, self._awaited)
        if not self._awaited:
            return parcel
        self._parcel = parcel
        return None

    def _attach(self, data: bytes, limit: int) -> SocketPacket | None:
        parcel = self._parcel
        if parcel is None:
            raise BadPacket("an attachment of nothing")
        self._size += len(data)
        if self._size > limit:
            raise BadPacket(f"attachments of more than {limit} bytes")
        self._attachments.append(data)
        if len(self._attachments) < self._awaited:
            return None
        whole = parcel._replace(attachments=self._attachments)
        self._parcel, self._attachments, self._size = None, [], 0
        return whole


def read_name(value: bytes) -> str | int:
    """Read an event's name from its JSON; raises `BadPacket` for what can be none."""
    try:
        name: str | int = _name.decode(value)
    except msgspec.MsgspecError:
        raise BadPacket("an event without a name") from None
    if name in RESERVED:
        raise BadPacket("a reserved event")
    return name


def check_placeholders(values: Sequence[bytes], count: int) -> None:
    """See that every placeholder stands for one of `count` attachments; raises `BadPacket`."""
    try:
        waiting = [_any.decode(value) for value in values]
    except (msgspec.MsgspecError, RecursionError):
        raise BadPacket("arguments that cannot be read") from None
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            number = value.get("num")
            if value.get("_placeholder") is True and not (type(number) is int and 0 <= number < count):
                raise BadPacket("a placeholder for no attachment")
            waiting.extend(value.values())


def _namespace(found: bytes | None) -> str:
    if found is None:
        return "/"
    try:
        return found.decode()
    except UnicodeDecodeError:
        raise BadPacket("a namespace that is not UTF-8") from None


def _parcel(kind: int, namespace: str, number: str, json: bytes) -> SocketPacket:
    try:
        match kind:
            case _ if kind in (EVENT, BINARY_EVENT, ACK, BINARY_ACK):
                return SocketPacket(kind, namespace, number, [bytes(value) for value in _array.decode(json)])
            case _ if kind == CONNECT:
                return SocketPacket(kind, namespace, auth=_object.decode(json) if json else {})
            case _ if kind == DISCONNECT and not json:
                return SocketPacket(kind, namespace)
    except (msgspec.MsgspecError, RecursionError):
        whole = without_lone_surrogates(json)
        if whole != json:
            return _parcel(kind, namespace, number, whole)
    raise BadPacket("a payload that this type does not have")
