"""The codec of the wire protocol of Firebase, version 5: JSON objects in text frames."""

import time
from typing import Any, ClassVar, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from relay.gateways.firebase.errors import status_of
from relay.gateways.firebase.foreign import as_value
from relay.model import events
from relay.model.codec import NOTHING, Frame
from relay.model.commands import GatewayCommand
from relay.model.envelope import MessageId
from relay.model.errors import BadFrame
from relay.model.explanations import explain
from relay.model.json_text import check_nesting, read_leniently
from relay.model.tree_envelopes import ReadChange, read_change

READS: Final = frozenset({"q", "g"})
WRITES: Final = frozenset({"p", "m", "o", "om", "oc"})
ACTIONS: Final = READS | WRITES | {"n", "s", "auth", "gauth", "unauth", "appcheck", "unappcheck"}


class Asked(GatewayCommand, Struct, frozen=True):
    """A request: its number, its action, and the fields of its body; `size` is that of the value, in bytes of JSON."""

    number: int
    action: str
    path: str = ""
    value: Any = None
    hash: str | None = None
    queried: bool = False
    token: str = ""
    size: int = 0

    about: ClassVar[str] = "request"

    @property
    def key(self) -> str:
        """The number, which is in the answer as well."""
        return str(self.number)


class ClientPing(GatewayCommand):
    """The client asks for a sign of life."""

    __slots__ = ()

    about = "ping"


class FrameIgnored(GatewayCommand):
    """A frame from which nothing follows: a keepalive, a part of a message, or a control message."""

    __slots__ = ()

    about = "control"


class _Message(Struct):
    t: str = ""
    d: Raw = Raw(b"null")


class _Control(Struct):
    t: str = ""


class _Body(Struct):
    p: str = ""
    d: Raw = Raw(b"null")
    h: str | None = None
    q: Raw | UnsetType = UNSET
    t: int | None = None
    cred: str = ""


class _Request(Struct):
    r: int
    a: str
    b: _Body | None = None


_messages = msgspec.json.Decoder(_Message)
_controls = msgspec.json.Decoder(_Control)
_requests = msgspec.json.Decoder(_Request)
_values = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode

PINGED: Final = ClientPing()
IGNORED: Final = FrameIgnored()
PONG: Final = Frame(b'{"t":"c","d":{"t":"o","d":null}}')
_PERHAPS_QUERIES: Final = (b"{}", b"null")


class TreeEventFrame(Frame):
    """An event of a room for the session, which writes the changes that its client listens to; it is never sent."""

    __slots__ = ("id", "room")

    def __init__(self, room: str, message_id: MessageId) -> None:
        super().__init__(b"")
        self.room = room
        self.id = message_id


class ChangeFrame(TreeEventFrame):
    """A change of the room's tree. `made` keeps the frames that were made of it, for all clients."""

    __slots__ = ("change", "made")

    def __init__(self, room: str, message_id: MessageId, change: ReadChange) -> None:
        super().__init__(room, message_id)
        self.change = change
        self.made: dict[object, tuple[Frame, ...]] = {}


class ForeignFrame(TreeEventFrame):
    """A message of a client of another protocol, with its time of arrival (Unix time, s)."""

    __slots__ = ("arrived", "channel", "value")

    def __init__(self, room: str, message_id: MessageId, channel: str, value: bytes) -> None:
        super().__init__(room, message_id)
        self.channel = channel
        self.value = value
        self.arrived = time.time()


class LossFrame(TreeEventFrame):
    """Events of the room were lost: the client's values may be out of date."""

    __slots__ = ()


class _Envelope(Struct):
    message: Raw | UnsetType = UNSET


_envelopes = msgspec.json.Decoder(_Envelope)


class FirebaseCodec:
    """The `Codec` of Firebase."""

    key: Final = "firebase"

    def decode(self, frame: Frame) -> GatewayCommand:
        """Read one message; raises `BadFrame`, which the client logs, or gets as the answer to its request."""
        if not frame.is_text:
            raise BadFrame("binary_frame")
        return read_leniently(_decode, frame.data)

    def encode(self, event: events.Event) -> Frame:
        """Write errors; of messages and losses, make frames for the session."""
        match event:
            case events.TreeMessage():
                return ChangeFrame(event.room, event.id, read_change(event.envelope))
            case events.Message():
                return _foreign(event)
            case events.Failure(code="messages_lost"):
                return LossFrame(event.room, MessageId.parse(str(event.detail["id"])))
            case events.Failure():
                return _failure(event)
            case _:
                return NOTHING


def hello(host: str, session: str, now: float) -> Frame:
    """Write the first frame of a connection; `now` is the Unix time (s)."""
    body = {"ts": int(now * 1000), "v": "5", "h": host, "s": session}
    return Frame(_encode({"t": "c", "d": {"t": "h", "d": body}}))


def answer(number: int, value: Raw | object = "", status: str = "ok") -> Frame:
    """Write the answer to a request."""
    return Frame(_encode({"t": "d", "d": {"r": number, "b": {"s": status, "d": value}}}))


def data(path: str, value: bytes) -> Frame:
    """Write that a path has this value now."""
    return Frame(b'{"t":"d","d":{"a":"d","b":{"p":%b,"d":%b}}}' % (_encode(path), value))


def merged(path: str, children: object) -> Frame:
    """Write that these paths below a path have these values now."""
    return Frame(_encode({"t": "d", "d": {"a": "m", "b": {"p": path, "d": children}}}))


def revoked(path: str) -> Frame:
    """Write that the client may not listen at a path any more."""
    return Frame(_encode({"t": "d", "d": {"a": "c", "b": {"p": path}}}))


def _failure(failure: events.Failure) -> Frame:
    if failure.key:
        status = status_of(failure.code)
        text = "Permission denied" if status == "permission_denied" else failure.text
        return answer(int(failure.key), f"{text} ({failure.code}: {failure.text})" if text != failure.text else text,
                      status)  # fmt: skip
    return Frame(_encode({"t": "c", "d": {"t": "e", "d": f"{failure.code}: {failure.text}"}}))


def _foreign(message: events.Message) -> Frame:
    envelope = message.envelope
    try:
        content = _envelopes.decode(envelope).message
    except msgspec.MsgspecError:
        content = UNSET
    value = as_value(envelope if content is UNSET else bytes(content))
    return ForeignFrame(message.room, message.id, message.channel, value)


def _decode(text: bytes) -> GatewayCommand:
    check_nesting(text)
    try:
        message = _messages.decode(text)
        if message.t == "c":
            return PINGED if _controls.decode(message.d).t == "p" else IGNORED
        if message.t == "d":
            return _read_request(_requests.decode(message.d))
    except msgspec.ValidationError as error:
        raise BadFrame("bad_command", explain(error)) from None
    except msgspec.DecodeError as error:
        raise BadFrame("bad_json", explain(error)) from None
    raise BadFrame("unknown_command", "a message has t, which is c or d")


def _read_request(request: _Request) -> Asked:
    body = request.b or _Body()
    if request.a not in ACTIONS:
        text = f"the relay knows the actions {', '.join(sorted(ACTIONS))}"
        raise BadFrame("unknown_command", text, key=str(request.r))
    queried = body.q is not UNSET and bytes(body.q) not in _PERHAPS_QUERIES
    writes = request.a in WRITES
    value = _values.decode(body.d) if writes else None
    size = len(bytes(body.d)) if writes else 0
    return Asked(request.r, request.a, body.p, value, body.h, queried or body.t is not None, body.cred, size)
