"""Reads the arguments of a page's events: as JavaScript takes them, within bounds."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct

from relay.gateways.socketio.errors import BadEvent
from relay.gateways.socketio.parser import IncomingEvent
from relay.model.explanations import explain

MAX_EXTRA: Final = 16_384
"""Bytes of the extra data of a user, as JSON."""

MAX_IDENTIFIER: Final = 100
"""Characters of the identifier of public rooms."""

MAX_SESSION: Final = 1024
"""Bytes of the session of a room, as JSON."""

_MAX_TEXT: Final = 1024

_array = msgspec.json.Decoder(list[Raw])
_scalar = msgspec.json.Decoder(str | int | float | bool | None)
_token = msgspec.json.Decoder(Annotated[str, Meta(min_length=1)])
_object = msgspec.json.Decoder(dict[str, Raw])
_NULL: Final = Raw(b"null")


class SessionKind(Struct, frozen=True):
    """The part of a session that decides which participants connect with each other."""

    oneway: Any = False
    broadcast: Any = False

    @property
    def is_oneway(self) -> bool:
        """Whether participants connect with the owner of the room alone."""
        return self.oneway is True or self.broadcast is True


class AskedRoom(Struct, frozen=True):
    """The room that a page opens or joins; `session` and `extra` are JSON."""

    name: str
    session: bytes = b"{}"
    extra: bytes = b"{}"
    identifier: str = ""
    password: str = ""

    def __repr__(self) -> str:
        # Without the password, which must not get into a log.
        return f"AskedRoom({self.name!r})"


_session = msgspec.json.Decoder(SessionKind)


def read_arguments(event: IncomingEvent) -> list[bytes]:
    """Return the arguments of an event, each as JSON."""
    try:
        return [bytes(value) for value in _array.decode(b"[%b]" % event.data)]
    except msgspec.MsgspecError as error:
        raise BadEvent("bad_event", explain(error), about="event") from None


def argument(values: list[bytes], at: int) -> bytes:
    """Return the argument at this place; `null` if there is none."""
    return values[at] if at < len(values) else b"null"


def read_text(value: bytes) -> str:
    """Return a text, or the text that JavaScript makes of a number or a boolean; "" for null.

    Raises `BadEvent` for objects and arrays, and for a text that is too long.
    """
    try:
        scalar = _scalar.decode(value)
    except msgspec.MsgspecError as error:
        raise BadEvent("bad_event", f"a text or a number: {explain(error)}", about="event") from None
    if scalar is None:
        return ""
    text = scalar if isinstance(scalar, str) else value.decode()
    if len(text) > _MAX_TEXT:
        raise BadEvent("bad_event", f"a text of at most {_MAX_TEXT} characters", about="event")
    return text


def read_token(value: bytes) -> str:
    """Return a token; raises `BadEvent` for anything but a text."""
    try:
        token: str = _token.decode(value)
    except msgspec.MsgspecError:
        raise BadEvent("bad_event", "relay:refresh takes one token", about="event") from None
    return token


def read_object(value: bytes) -> dict[str, Raw]:
    """Return the fields of an object; raises `BadEvent` for anything else."""
    try:
        return _object.decode(value)
    except msgspec.MsgspecError as error:
        raise BadEvent("bad_event", f"an object: {explain(error)}", about="event") from None


def read_extra(value: bytes) -> bytes:
    """Return the extra data of a user, which may be any JSON; raises `BadEvent` if it is too large."""
    if len(value) > MAX_EXTRA:
        raise BadEvent("bad_event", f"extra has {len(value)} bytes; at most {MAX_EXTRA}", about="event")
    return value


def read_room(value: bytes) -> AskedRoom:
    """Read the argument of `open-room` or `join-room`; raises `BadEvent`."""
    fields = read_object(value)
    session = bytes(fields.get("session", _NULL))
    if len(session) > MAX_SESSION:
        raise BadEvent("bad_event", f"session has {len(session)} bytes; at most {MAX_SESSION}", about="event")
    identifier = read_text(bytes(fields.get("identifier", _NULL)))
    if len(identifier) > MAX_IDENTIFIER:
        raise BadEvent("bad_event", f"identifier has at most {MAX_IDENTIFIER} characters", about="event")
    extra = bytes(fields.get("extra", _NULL))
    return AskedRoom(
        name=read_text(bytes(fields.get("sessionid", _NULL))),
        session=session if session.startswith(b"{") else b"{}",
        extra=b"{}" if extra == b"null" else read_extra(extra),
        identifier=identifier,
        password=read_password(bytes(fields.get("password", _NULL))),
    )


def read_session(session: bytes) -> SessionKind:
    """Read a session; one that cannot be read is like one of all with all."""
    try:
        return _session.decode(session)
    except msgspec.MsgspecError:
        return SessionKind()


def is_true(value: Raw | None) -> bool:
    """Return whether JavaScript takes a JSON value for true."""
    return value is not None and bytes(value) not in (b"", b"null", b"false", b"0", b'""', b"-0", b"0.0")


def read_password(value: bytes) -> str:
    """Return a password; pages that have none send an empty text, `false`, or any object."""
    return "" if value == b"false" or value[:1] in (b"{", b"[") else read_text(value)
