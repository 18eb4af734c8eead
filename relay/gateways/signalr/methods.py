"""Hub methods: invocations of clients as commands. Names of methods compare without case, as those of clients do."""

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
from msgspec import structs

from relay.gateways.signalr.errors import InvocationRefused
from relay.gateways.signalr.messages import HubMessage
from relay.gateways.signalr.settings import SignalRSettings
from relay.model.commands import (
    NO_IDENTITY,
    AskPresence,
    Command,
    Identity,
    Join,
    Leave,
    Publish,
    Refresh,
)
from relay.model.envelope import read_envelope
from relay.model.errors import BadFrame, Refused
from relay.model.json_text import read_leniently
from relay.model.names import check_peer, check_room

_T = TypeVar("_T")

_SHOWN: Final = 40
"""Characters of a method's name that an error repeats."""

_text = msgspec.json.Decoder(str)
_optional_text = msgspec.json.Decoder(str | None)
_json: Final = msgspec.json.Encoder().encode

Method = Callable[[HubMessage], Command]


class HubMethods:
    """The methods of the hub, as the settings say; `targets` are the client methods that other clients may call."""

    def __init__(self, settings: SignalRSettings) -> None:
        self._methods: dict[str, Method] = {
            "sendto": _send_to,
            "joinroom": _join_room,
            "leaveroom": _leave_room,
            "presence": _presence,
            "refresh": _refresh,
        }
        targets = set[str]()
        for one in settings.signalr_methods:
            method, _, target = one.partition("=")
            self._methods[method.lower()] = _calling(target) if target else _send
            if target:
                targets.add(target)
        self.targets = frozenset(targets)

    def command(self, message: HubMessage) -> Command:
        """Return the command of an invocation; raises `BadFrame`, with the invocation id as its key."""
        method = self._methods.get(message.target.lower())
        if method is None:
            name = message.target[:_SHOWN]
            raise InvocationRefused("unknown_method", f"the hub has no method {name!r}", key=message.invocation)
        if message.streams:
            raise InvocationRefused("streams_unsupported", about="stream", key=message.invocation)
        try:
            return method(message)
        except BadFrame as error:
            error.key = message.invocation
            raise
        except Refused as error:
            raise InvocationRefused(error.code, error.text, key=message.invocation) from None


def _send(message: HubMessage) -> Command:
    """`Send(envelope, room?)`."""
    _check_count(message, "Send(envelope, room)", 1, 2)
    return _publication(message, 0, room=_room(message, 1))


def _send_to(message: HubMessage) -> Command:
    """`SendTo(peer, envelope, room?)`."""
    _check_count(message, "SendTo(peer, envelope, room)", 2, 3)
    peer = check_peer(_read(message, 0))
    return structs.replace(_publication(message, 1, room=_room(message, 2)), to=(peer,))


def _join_room(message: HubMessage) -> Command:
    """`JoinRoom(room)`."""
    _check_count(message, "JoinRoom(room)", 1, 1)
    return Join(check_room(_read(message, 0)), presence=True, key=message.invocation, can_resume=False)


def _leave_room(message: HubMessage) -> Command:
    """`LeaveRoom(room?)`."""
    _check_count(message, "LeaveRoom(room)", 0, 1)
    return Leave(_room(message, 0), message.invocation)


def _presence(message: HubMessage) -> Command:
    """`Presence(room?)`."""
    _check_count(message, "Presence(room)", 0, 1)
    return AskPresence(_room(message, 0), message.invocation)


def _refresh(message: HubMessage) -> Command:
    """`Refresh(token)`."""
    _check_count(message, "Refresh(token)", 1, 1)
    token = _read(message, 0)
    if not token:
        raise BadFrame("bad_command", "Refresh takes a token", about="refresh")
    return Refresh(token, message.invocation)


def _calling(target: str) -> Method:
    """Return a method that has a client method of all others called, with the same arguments."""
    name = _json(target)

    def call(message: HubMessage) -> Command:
        arguments = b",".join([message.argument(at) for at in range(len(message.arguments))])
        text = b'{"event":%b,"args":[%b]}' % (name, arguments)
        return structs.replace(_read_envelope(text), key=message.invocation, identity=NO_IDENTITY)

    return call


def _publication(message: HubMessage, at: int, room: str) -> Publish:
    """Read the argument with an envelope; text counts as JSON where it is an object."""
    value = message.argument(at)
    try:
        command = _read_content(_as_object(value))
    except BadFrame as error:
        if error.code != "bad_json" or not value.startswith(b'"'):
            raise
        command = _wrapped(value)
    if not (command.key or message.invocation or room):
        return command
    identity = Identity(command.key) if command.key else NO_IDENTITY
    return structs.replace(command, key=message.invocation, identity=identity, room=room)


def _read_content(value: bytes) -> Publish:
    """Read an envelope; any other value becomes the `message` of one."""
    if not value.startswith(b"{"):
        return _wrapped(value)
    try:
        return _read_envelope(value)
    except BadFrame as error:
        # Objects of applications often have a type.
        if error.code != "reserved_field":
            raise
        return _wrapped(value)


def _wrapped(value: bytes) -> Publish:
    return _read_envelope(b'{"message":%b}' % value)


def _read_envelope(text: bytes) -> Publish:
    return read_leniently(read_envelope, text)


def _as_object(value: bytes) -> bytes:
    """Return the object that a text seems to be; any other value as it is."""
    if value.startswith(b'"'):
        inner = _decode(_text, value).strip()
        if inner.startswith("{"):
            return inner.encode()
    return value


def _decode(decoder: "msgspec.json.Decoder[_T]", text: bytes) -> _T:
    """Decode a value; raises `BadFrame` (`bad_json`)."""

    def read(text: bytes) -> _T:
        try:
            return decoder.decode(text)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise BadFrame("bad_json", str(error)) from None

    return read_leniently(read, text)


def _check_count(message: HubMessage, form: str, least: int, most: int) -> None:
    if not least <= len(message.arguments) <= most:
        raise BadFrame("bad_command", f"the method is {form}; it was called with {len(message.arguments)} arguments")


def _read(message: HubMessage, at: int) -> str:
    return _decode_argument(_text, message, at)


def _room(message: HubMessage, at: int) -> str:
    """Return the room that an argument names, "" for the client's own."""
    name = _decode_argument(_optional_text, message, at) if at < len(message.arguments) else None
    return check_room(name) if name else ""


def _decode_argument(decoder: "msgspec.json.Decoder[_T]", message: HubMessage, at: int) -> _T:
    try:
        return _decode(decoder, message.argument(at))
    except BadFrame:
        raise BadFrame("bad_command", f"argument {at + 1} of {message.target[:_SHOWN]} is text") from None
