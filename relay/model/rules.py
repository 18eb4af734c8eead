"""Room rules: which joins and commands a room allows. They are in Redis, and the same on every worker."""

from typing import Annotated, Any, Final

from msgspec import Meta, Struct, structs

from relay.model.names import MAX_NAME, check_peer

MAX_PASSWORD: Final = 128
"""Characters of a room's password."""

MAX_RULE_TTL: Final = 2_592_000
"""Seconds that a room may live by its rules: 30 days."""

MAX_REASON: Final = 200
"""Characters of the reason for a kick or a close."""

MAX_BAN: Final = 2_592_000
"""Seconds for which somebody may be banned from a room: 30 days."""

MAX_RULE_MEMBERS: Final = 10_000_000
"""Members that a rule may allow."""

_Members = Annotated[int, Meta(ge=0, le=MAX_RULE_MEMBERS)]
_Seconds = Annotated[int, Meta(ge=0, le=MAX_RULE_TTL)]


class RoomRules(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The rules of one room, as everybody may see them; None stands for the relay's settings.

    `locked`: no new member comes in; one that is held may return. `password` says whether a new member needs one.
    `max_members` is the most members. `ttl` are the seconds for which the rules outlive the last member. Without
    `history`, nothing that was missed is replayed. `owner` is the peer id of the owner, "" for none.
    """

    max_members: int | None = None
    locked: bool = False
    password: bool = False
    ttl: int | None = None
    history: bool = True
    owner: str = ""


MAX_ATTRIBUTES: Final = 2048
"""Bytes of the attributes of a room."""


class Terms(Struct, frozen=True, kw_only=True):
    """The terms of a client that opens a room, as some protocols have them; they end with the last member.

    The opener becomes the owner, unless a server has named one. `attributes` are JSON text, of which only the
    application knows the meaning; at most `MAX_ATTRIBUTES` bytes. A room that has rules of a server or a token keeps
    those, and takes neither `password` ("" for none) nor `max_members`.
    """

    password: str = ""
    max_members: int | None = None
    attributes: bytes = b"{}"

    def __repr__(self) -> str:
        # Without the password, which must not get into a log.
        return f"Terms(max_members={self.max_members}, attributes={self.attributes!r})"


class OpenRoom(Struct, frozen=True, kw_only=True):
    """A room as an application sees it: its rules, and its attributes, b"" if no client gave it any.

    `given` if password and the most members, if there are any, came from the client that opened it.
    """

    rules: RoomRules
    attributes: bytes = b""
    given: bool = False


class RuleChange(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A change of rules; fields that are None stay as they are.

    An empty `password` removes the password, and an empty `owner` the owner. With 0 for `max_members` or `ttl`, the
    relay's settings count again.
    """

    max_members: _Members | None = None
    locked: bool | None = None
    password: Annotated[str, Meta(max_length=MAX_PASSWORD)] | None = None
    ttl: _Seconds | None = None
    history: bool | None = None
    owner: Annotated[str, Meta(max_length=MAX_NAME)] | None = None

    def __repr__(self) -> str:
        # Without the password, which must not get into a log.
        fields = structs.asdict(self)
        shown = [f"{name}={value!r}" for name, value in fields.items() if value is not None and name != "password"]
        return f"RuleChange({', '.join([*shown, *(['password=…'] if self.password else [])])})"


def checked_change(change: RuleChange) -> RuleChange:
    """Return a change whose owner, if it names one, has the escaped name of a peer; raise `Refused` (`bad_peer`)."""
    if change.owner:
        check_peer(change.owner)
    return change


def shown_rules(rules: RoomRules) -> dict[str, Any]:
    """Return the rules as JSON has them for clients: each field, null if the relay's settings count."""
    return structs.asdict(rules) | {"owner": rules.owner or None}
