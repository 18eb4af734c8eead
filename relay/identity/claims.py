"""The claims of a token: read, checked, and made into grants. Names become escaped names here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from relay.identity.grants import OF_MEMBERS, Grants, Right, RoomGrant, TokenLimits
from relay.identity.patterns import escape_pattern
from relay.identity.token_form import REFUSAL, bad_token
from relay.model.errors import NotAllowed, Refused
from relay.model.member_info import read_vouched
from relay.model.names import MAX_NAME, escape_peer, escape_room
from relay.model.rules import RuleChange

MAX_ROOMS: Final = 100
"""Grants of one token."""

MAX_PATTERN: Final = 200
"""Characters of a pattern: a name that is made of it has room for more."""

_MAX_LIMIT: Final = 1_000_000
_SHOWN: Final = 40
"""Characters of an unknown right that an error repeats."""

_LONGEST: Final = 200
"""Characters of another error that it repeats."""

_RIGHTS: Final = frozenset(Right)
_LATEST: Final = 1e11
"""The latest end of a token: the year 5138, in seconds; milliseconds by mistake are later."""

_Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
_Limit = Annotated[int, Meta(ge=1, le=_MAX_LIMIT)]


class RoomClaim(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One item of the claim `rooms`: the room's name or a pattern, its holder's rights there, and the room's rules.

    Without `can`, these are the rights of members. `rules` are those of a room that the holder opens.
    """

    room: _Name
    can: Annotated[list[str], Meta(max_length=len(Right))] = msgspec.field(default_factory=lambda: [*OF_MEMBERS])
    rules: RuleChange | None = None


class LimitsClaim(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The claim `limits`: messages a second, and rooms of one connection."""

    message_rate: _Limit | None = None
    rooms: _Limit | None = None


_Rooms = Annotated[list[RoomClaim | _Name], Meta(max_length=MAX_ROOMS)]


class Claims(Struct, frozen=True, kw_only=True):
    """The claims that the relay reads; a token may have others."""

    exp: Annotated[float, Meta(ge=0, le=_LATEST)]
    sub: Annotated[str, Meta(max_length=MAX_NAME)] = ""
    rooms: _Rooms | UnsetType = UNSET
    info: dict[str, Any] | None = None
    limits: LimitsClaim = LimitsClaim()
    admin: bool = False


def read_claims(payload: Mapping[str, Any], *, leeway: float, default_rooms: Sequence[RoomGrant] = ()) -> Grants:
    """Return the grants of a token whose signature and times are proven; they end `leeway` seconds after `exp`.

    `default_rooms` are those of a token without the claim `rooms`. Raises `Refused` (`bad_token`), with a text that
    names the claim.
    """
    try:
        claims = msgspec.convert(payload, Claims)
    except ValueError as error:
        raise bad_token(f"its claims are not those of this relay: {str(error)[:_LONGEST]}") from None
    return Grants(
        subject=claims.sub,
        peers=_peers(claims.sub),
        rooms=default_rooms if claims.rooms is UNSET else _grants(claims.rooms),
        info=_info(claims.info),
        limits=TokenLimits(claims.limits.message_rate, claims.limits.rooms),
        admin=claims.admin,
        expires=claims.exp + leeway,
    )


def parse_rooms(text: str) -> Sequence[RoomGrant]:
    """Return the grants that a setting describes: JSON as in the claim `rooms`, or names and patterns with commas.

    Raises `NotAllowed` with the reason.
    """
    text = text.strip()
    try:
        if text.startswith("["):
            return _grants(msgspec.json.decode(text, type=_Rooms))
        return _grants([name.strip() for name in text.split(",") if name.strip()])
    except Refused as error:
        raise NotAllowed(error.text.removeprefix(REFUSAL)) from None
    except (ValueError, RecursionError) as error:
        raise NotAllowed(f"it is not a list of rooms: {str(error)[:_LONGEST]}") from None


def _grants(rooms: Sequence[RoomClaim | str]) -> Sequence[RoomGrant]:
    if len(rooms) > MAX_ROOMS:
        raise bad_token(f"the claim rooms has more than {MAX_ROOMS} items")
    return tuple(
        RoomGrant(_pattern(one, "rooms", escape_room))
        if isinstance(one, str)
        else RoomGrant(_pattern(one.room, "rooms", escape_room), _rights(one.can), one.rules)
        for one in rooms
    )


def _rights(names: Sequence[str]) -> frozenset[Right]:
    unknown = [name for name in names if name not in _RIGHTS]
    if unknown:
        raise bad_token(f"the claim rooms grants {unknown[0][:_SHOWN]!a}, and there are only {', '.join(Right)}")
    return frozenset(map(Right, names))


def _peers(subject: str) -> str:
    return _pattern(subject, "sub", escape_peer) if subject else "*"


def _pattern(text: str, claim: str, escape: Callable[[str], str]) -> str:
    """Return the escaped name of a name or pattern in a claim."""
    if "*" in text and len(text) > MAX_PATTERN:
        raise bad_token(f"a pattern in the claim {claim} has more than {MAX_PATTERN} characters")
    try:
        return escape_pattern(text, escape)
    except Refused as error:
        raise bad_token(f"in the claim {claim}, {error.text}") from None
    except ValueError as error:
        raise bad_token(f"in the claim {claim}, {error}") from None


def _info(fields: Mapping[str, Any] | None) -> bytes:
    """Return the info that a token vouches for, as `read_vouched` does."""
    if fields is None:
        return b""
    try:
        return read_vouched(msgspec.json.encode(fields))
    except Refused as error:
        raise bad_token(f"the claim {error.text}") from None
    except (ValueError, TypeError, RecursionError):
        raise bad_token("the claim info has text that is not Unicode, or numbers that are not in JSON") from None
