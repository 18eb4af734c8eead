"""The interfaces between the rooms of a worker and the backend's record of each room's rules.

The rules of a room have a *version*, a time (us) that rises with each change: of two versions, the newer one counts.
The step that makes a client a member checks them. Workers with members of a room have a copy, and give it back to a
backend that has lost it, or has an older one.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from msgspec import Struct, structs

from relay.model.errors import Refused, Unavailable
from relay.model.rules import RoomRules

MAX_BANS: Final = 100
"""Bans and marks of a room; of more, those that end first are forgotten."""

KICK_MARK: Final = 120.0
"""Seconds in which a worker that missed a kick cannot record the member anew."""

SUBJECT, PEER, KICK = "s", "p", "k"
"""Kinds of bans: of a token's subject, of a peer id, and the mark of a kick."""


class Ban(NamedTuple):
    """Until a time (ms), a subject or peer may not come in.

    `key` is the fingerprint of a subject, or a peer id. A mark of a kick only counts for members up to a generation.
    """

    until: int
    kind: str
    key: str
    generation: int = 0


class StoredRules(Struct, frozen=True, kw_only=True):
    """The rules of a room as the backend has them.

    `derived` is the key derived from the password with `salt`, both "" without a password. `elected`: the owner got the
    room as its first member or from the owner before, and no server has named it: the room is handed over when it
    leaves. `made`: the room exists also without members. `given`: password and most members came from the client that
    opened the room, and end with its last member, as its `attributes` do, which are in Base64.
    """

    version: int = 0
    max_members: int | None = None
    locked: bool = False
    salt: str = ""
    derived: str = ""
    ttl: int | None = None
    history: bool = True
    owner: str = ""
    elected: bool = False
    made: bool = False
    given: bool = False
    attributes: str = ""
    bans: tuple[Ban, ...] = ()

    def __repr__(self) -> str:
        # Without the derived key, by which guesses can be tried.
        return f"StoredRules(version={self.version}, {self.public})"

    @property
    def public(self) -> RoomRules:
        """The rules as everybody may see them."""
        return RoomRules(
            max_members=self.max_members,
            locked=self.locked,
            password=bool(self.derived),
            ttl=self.ttl,
            history=self.history,
            owner=self.owner,
        )

    @property
    def keep_room(self) -> bool:
        """Whether a room without members exists by its rules: bans, and those that have ended, are not enough."""
        return self != StoredRules(version=self.version, bans=self.bans)

    def bans_of(self, subject: str, peer: str, now: int) -> bool:
        """Whether a client of this subject ("" for none), or with this peer id, may not come in at this time (ms)."""
        keys = {(PEER, peer), (SUBJECT, subject)} if subject else {(PEER, peer)}
        return any(ban.until > now and (ban.kind, ban.key) in keys for ban in self.bans)

    def was_kicked(self, peer: str, generation: int) -> bool:
        """Whether a member was kicked, so that its entry must not be recorded anew."""
        return any(ban.kind == KICK and ban.key == peer and generation <= ban.generation for ban in self.bans)


def with_bans(rules: StoredRules, bans: Sequence[Ban], now: int) -> StoredRules:
    """Add bans, and drop those that are over (`now` in ms), or are too many."""
    keys = {(ban.kind, ban.key) for ban in bans}
    kept = [ban for ban in rules.bans if ban.until > now and (ban.kind, ban.key) not in keys]
    latest = sorted([*kept, *bans], key=lambda ban: -ban.until)[:MAX_BANS]
    return structs.replace(rules, bans=tuple(latest))


# The text of rules, which the scripts read and write as well: `name=value` for each field that is set, with spaces
# between. A name is that of the field in the hash of a room's options; see rules.lua. No value has a space, as peer ids
# are escaped.

_BAN_SEPARATOR: Final = "|"


def write_rules(rules: StoredRules) -> str:
    """Return the text of rules."""
    fields = {
        "v": str(rules.version) if rules.version else "",
        "m": "" if rules.max_members is None else str(rules.max_members),
        "l": "1" if rules.locked else "",
        "s": rules.salt,
        "p": rules.derived,
        "t": "" if rules.ttl is None else str(rules.ttl),
        "h": "" if rules.history else "0",
        "o": rules.owner,
        "e": "1" if rules.elected else "",
        "a": "1" if rules.made else "",
        "g": "1" if rules.given else "",
        "d": rules.attributes,
        "b": _BAN_SEPARATOR.join(",".join(map(str, ban)) for ban in rules.bans),
    }
    return " ".join(f"{name}={value}" for name, value in fields.items() if value)


def read_rules(text: str) -> StoredRules | None:
    """Read the text of rules; None for "". A value that no relay has written counts as missing."""
    fields = _fields(text)
    if not fields:
        return None
    return StoredRules(
        version=_number(fields, "v") or 0,
        max_members=_number(fields, "m"),
        locked=fields.get("l") == "1",
        salt=fields.get("s", ""),
        derived=fields.get("p", ""),
        ttl=_number(fields, "t"),
        history=fields.get("h") != "0",
        owner=fields.get("o", ""),
        elected=fields.get("e") == "1",
        made=fields.get("a") == "1",
        given=fields.get("g") == "1",
        attributes=fields.get("d", ""),
        bans=tuple(_bans(fields.get("b", ""))),
    )


class Change(Struct, frozen=True, kw_only=True):
    """A change of stored rules: the text of the fields that are set (`write_rules`), and the names of those removed.

    Both have spaces between their parts.
    """

    set: str = ""
    remove: str = ""

    def __repr__(self) -> str:
        # Without values, as one of them may be a derived key.
        return f"Change(set={sorted(_fields(self.set))}, remove={self.remove!r})"


def changed(rules: StoredRules | None, change: Change, now: int) -> StoredRules:
    """Return rules after a change at this time (us)."""
    fields = _fields(write_rules(rules or StoredRules())) | _fields(change.set)
    left = [f"{name}={value}" for name, value in fields.items() if name not in change.remove.split(" ")]
    version = max((rules.version if rules else 0) + 1, now)
    return structs.replace(read_rules(" ".join(left)) or StoredRules(), version=version)


def without_given(rules: StoredRules) -> StoredRules:
    """Return rules without the terms of the client that opened the room, whose last member has left."""
    rules = structs.replace(rules, attributes="")
    return structs.replace(rules, given=False, max_members=None, salt="", derived="") if rules.given else rules


def _fields(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(" ") if part)
    return {name: value for name, _, value in pairs}


def _number(fields: Mapping[str, str], name: str) -> int | None:
    text = fields.get(name, "")
    return int(text) if text.isdecimal() and len(text) <= 16 else None


def _bans(text: str) -> Sequence[Ban]:
    bans: list[Ban] = []
    for part in text.split(_BAN_SEPARATOR)[:MAX_BANS]:
        until, _, rest = part.partition(",")
        kind, _, rest = rest.partition(",")
        key, _, generation = rest.rpartition(",")
        if until.isdecimal() and generation.isdecimal():
            bans.append(Ban(int(until), kind, key, int(generation)))
    return bans


class RulesLost(Unavailable):
    """The backend's rules of a room are missing, or older than those that the worker knows: it is to restore them."""


class PasswordNeeded(Refused):
    """The room has a password, derived with `salt`, and the attempt does not have it."""

    def __init__(self, room: str, salt: str, *, wrong: bool) -> None:
        super().__init__("bad_password" if wrong else "password_required", room=room)
        self.room = room
        self.salt = salt


class Kicking(Struct, frozen=True, kw_only=True):
    """A kick of a peer of a room, or of all members of a token's subject (a fingerprint) if `peer` is "".

    `ban`: for so many seconds, the client may not come back.
    """

    room: str
    peer: str = ""
    subject: str = ""
    reason: str = ""
    ban: float = 0
    by: str = ""


class RoomRulesStore(Protocol):
    """The rules of all rooms. The first three methods raise `Unavailable` or `OutcomeUnknown` without an answer."""

    async def read(self, room: str) -> StoredRules | None:
        """Return the rules of a room; None if it has none."""
        ...

    async def change(self, room: str, change: Change, *, by: str = "", create: bool = False) -> StoredRules:
        """Change the rules of a room, and return them; publishes a `RulesChanged`.

        Raises `Refused` (`no_such_room`) if the room does not exist, unless it is to be created.
        """
        ...

    def restore(self, room: str, rules: StoredRules) -> Awaitable[StoredRules]:
        """Record these rules unless the backend has a newer version; returns those that it has then.

        The request is sent when this returns, ahead of all later ones.
        """
        ...

    def keep(self, room: str, rules: StoredRules | None) -> None:
        """Note that this worker can restore the rules of a room; None: that it cannot any more.

        While a worker can, a backend without these rules lets nobody new into the room, and asks for them.
        """
        ...


class RoomControls(Protocol):
    """The commands of a client that has a say in a room; each method raises `Unavailable` or `OutcomeUnknown`."""

    async def kick(self, kicking: Kicking) -> int:
        """Put members out of a room, so that their resume keys are void; returns how many.

        Publishes a `Kicked` and a `MemberLeft` for each. A ban is recorded also if there is no such member.
        """
        ...

    async def close(self, room: str, *, reason: str = "") -> int:
        """Put all members out of a room, and forget its rules; returns how many there were.

        Publishes a `RoomClosed`, and a `MemberLeft` for each. Nobody comes in meanwhile.
        """
        ...

    async def move(self, room: str, to: str, peers: Sequence[str] | None) -> int:
        """Publish a `Moved` for these peers, None for all members; returns how many of them are there."""
        ...
