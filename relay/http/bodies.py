"""The JSON bodies of requests about rooms, and how they are read."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct
from starlette.requests import Request

from relay.http.request import read_json
from relay.model.envelope_head import MAX_ADDRESSEES
from relay.model.errors import BadFrame, Refused
from relay.model.explanations import explain, explain_encoding
from relay.model.json_text import check_nesting, read_leniently
from relay.model.names import MAX_ESCAPED, MAX_NAME, check_room
from relay.model.rules import MAX_BAN, MAX_REASON, RuleChange, checked_change

MAX_ROOMS: Final = 100
"""Rooms that one request may name in its body."""

MAX_BODY: Final = 262_144
"""Bytes of a body about rooms, besides an envelope in it."""

Name = Annotated[str, Meta(min_length=1, max_length=MAX_ESCAPED)]
Reason = Annotated[str, Meta(max_length=MAX_REASON)]

_T = TypeVar("_T", bound=Struct)
_S = TypeVar("_S")


class KickBody(Struct, forbid_unknown_fields=True):
    """Whom to put out: a peer, or all members whose tokens have a subject."""

    peer: Name | None = None
    subject: Annotated[str, Meta(min_length=1, max_length=MAX_NAME)] | None = None
    reason: Reason = ""
    ban: Annotated[int, Meta(ge=0, le=MAX_BAN)] = 0


class MoveBody(Struct, forbid_unknown_fields=True):
    """Where to send members, and whom: `peers`, or all."""

    to: Name
    peers: Annotated[list[Name], Meta(min_length=1, max_length=MAX_ADDRESSEES)] | None = None


class NewRoom(Struct, forbid_unknown_fields=True):
    """A room that is made, with its rules."""

    room: Name
    rules: RuleChange = msgspec.field(default_factory=RuleChange)


class NewRooms(Struct, forbid_unknown_fields=True):
    """Rooms that are made."""

    rooms: Annotated[list[NewRoom], Meta(min_length=1, max_length=MAX_ROOMS)]


class PublishBody(Struct, forbid_unknown_fields=True):
    """An envelope for the members of several rooms."""

    rooms: Annotated[list[Name], Meta(min_length=1, max_length=MAX_ROOMS)]
    envelope: Raw


async def read_body(request: Request, kind: type[_T], limit: int = MAX_BODY) -> _T:
    """Return the body of a request, which is JSON of at most `limit` bytes.

    Whole numbers may be written as 60.0, as some languages do. Raises `Refused`: `bad_content_type`, `too_large`,
    `bad_json`, or `bad_body`, whose text names the field.
    """
    body = await read_json(request, limit)
    check_nesting(body)
    try:
        return read_leniently(partial(_read, kind), body)
    except UnicodeDecodeError as error:
        raise Refused("bad_json", explain_encoding(error)) from None


def _read(kind: type[_T], text: bytes) -> _T:
    try:
        if kind is PublishBody:
            # Decoded at once, so that the envelope keeps its bytes.
            return msgspec.json.decode(text, type=kind)
        return msgspec.convert(_whole(msgspec.json.decode(text)), kind)
    except msgspec.ValidationError as error:
        raise Refused("bad_body", explain(error)) from None
    except msgspec.DecodeError as error:
        raise BadFrame("bad_json", explain(error)) from None


def _whole(value: Any) -> Any:
    """Return JSON in which whole numbers are integers."""
    if isinstance(value, dict):
        return {name: _whole(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def checked_rooms(names: Iterable[str]) -> list[str]:
    """Return the names of rooms in a body, in order; raise `Refused` (`bad_room`) that says which one is not a name."""
    return [_checked(number, check_room, name) for number, name in enumerate(names, 1)]


def checked_new_rooms(rooms: Sequence[NewRoom]) -> Sequence[NewRoom]:
    """Return these rooms; raise `Refused` (`bad_room`, `bad_peer`) that says which name or owner is wrong."""
    for number, one in enumerate(rooms, 1):
        _checked(number, check_room, one.room)
        _checked(number, checked_change, one.rules)
    return rooms


def _checked(number: int, check: Callable[[_S], _S], value: _S) -> _S:
    try:
        return check(value)
    except Refused as error:
        raise Refused(error.code, f"room {number} of the list: {error.text}") from None
