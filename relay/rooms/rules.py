"""Room rules, as the edges see them: how a room's rules are read and changed, and how its members are put out."""

import base64
import hmac
from collections.abc import Callable, Sequence

from relay import ids
from relay.backend.rules import Change, Kicking, RoomControls, RoomRulesStore, StoredRules
from relay.identity.grants import Grants
from relay.metrics import Metrics
from relay.model.base64_text import read_base64
from relay.model.rules import OpenRoom, RoomRules, RuleChange
from relay.rooms.passwords import Passwords
from relay.rooms.rule_copies import RuleCopies


class Rules:
    """Asks for and changes the rules of rooms, and puts members out of them; on whichever worker they are.

    The caller has checked that the client may do this, and that names and texts are valid. Every coroutine raises
    `Unavailable` or `OutcomeUnknown` if Redis does not answer, the former at once if `check`, which is called with the
    room, raises it. `by` is the peer id of the member that does it, "" for the relay or a server.
    """

    def __init__(
        self,
        store: RoomRulesStore,
        controls: RoomControls,
        copies: RuleCopies,
        passwords: Passwords,
        *,
        owners: bool,
        metrics: Metrics,
        check: Callable[[str], None] = lambda room: None,
    ) -> None:
        self._store = store
        self._controls = controls
        self._copies = copies
        self._passwords = passwords
        self._owners = owners
        self._metrics = metrics
        self._check = check

    def is_owner(self, room: str, peer: str) -> bool:
        """Whether a peer owns a room that has members on this worker, and owners may change rules; asks nobody."""
        copy = self._copies.get(room)
        return self._owners and copy is not None and bool(peer) and copy.owner == peer

    async def keeps_history(self, room: str) -> bool:
        """Whether a room has a history by its rules; asks Redis about a room of other workers only."""
        rules = await self._known(room)
        return rules is None or rules.history

    async def is_banned(self, room: str, grants: Grants, now: int) -> bool:
        """Whether a room has banned the holder of a token, by its subject or its peer id; `now` is in ms.

        A join checks this by itself; this is for clients that are no members. Asks Redis as `keeps_history` does.
        """
        if grants.admin or not grants.subject:
            return False
        rules = await self._known(room)
        return rules is not None and rules.bans_of(subject_mark(grants.subject), grants.peers, now)

    async def _known(self, room: str) -> StoredRules | None:
        rules = self._copies.get(room)
        if rules is None and not self._copies.is_ours(room):
            rules = await self._store.read(room)
        return rules

    async def get(self, room: str) -> RoomRules:
        """Return the rules of a room; those of a room without rules, or that does not exist, are all the relay's."""
        self._check(room)
        rules = await self._store.read(room)
        return RoomRules() if rules is None else rules.public

    async def open_room(self, room: str) -> OpenRoom:
        """Return the rules of a room and the attributes that a client has given it."""
        rules = self._copies.get(room)
        if rules is None:
            self._check(room)
            rules = await self._store.read(room)
        if rules is None:
            return OpenRoom(rules=RoomRules())
        return OpenRoom(rules=rules.public, attributes=unpacked(rules.attributes), given=rules.given)

    async def check_password(self, room: str, password: str, address: str) -> bool | None:
        """Return whether this is the password of a room; None if it has none. A wrong one counts as at a join.

        Raises `Refused` (`too_many_attempts`, `unavailable`).
        """
        self._check(room)
        rules = await self._store.read(room)
        if rules is None or not rules.derived:
            return None
        guess = await self._passwords.attempt(room, rules.salt, password, address)
        try:
            if hmac.compare_digest(guess.key, rules.derived):
                guess.accept()
                return True
            guess.refuse()
            return False
        finally:
            guess.end()

    async def change(self, room: str, change: RuleChange, *, create: bool = False, by: str = "") -> RoomRules:
        """Change the rules of a room, and return all of them.

        Raises `Refused` (`no_such_room`) if it does not exist, unless it is to be created.
        """
        self._check(room)
        changes = await stored_change(room, change, self._passwords, by_member=bool(by))
        stored = await self._store.change(room, changes, by=by, create=create)
        self._metrics.rule_changes.inc()
        return stored.public

    async def kick(
        self, room: str, peer: str = "", *, reason: str = "", ban: float = 0, subject: str = "", by: str = ""
    ) -> bool:
        """Put a peer out of a room, or all members of a token's `subject`; return whether there was one.

        Their connections are closed, and their resume keys are void. For `ban` seconds, neither the subject of their
        tokens nor their peer ids may come in; a client without a token may choose another peer id.
        """
        self._check(room)
        kicking = Kicking(room=room, peer=peer, subject=subject_mark(subject), reason=reason, ban=ban, by=by)
        kicked = await self._controls.kick(kicking)
        self._metrics.kicks.inc(kicked)
        return kicked > 0

    async def close(self, room: str, *, reason: str = "") -> int:
        """Put all members out of a room, and forget its rules; returns how many members there were."""
        self._check(room)
        out = await self._controls.close(room, reason=reason)
        self._metrics.kicks.inc(out)
        return out

    async def move(self, room: str, to: str, peers: Sequence[str] | None = None) -> int:
        """Tell members of a room (None: all) to go to another one; returns how many of them there are.

        The relay moves native clients whose own room it is; they need the right to join the other room. Clients of
        other protocols only get the event.
        """
        self._check(room)
        return await self._controls.move(room, to, peers)


def packed(attributes: bytes) -> str:
    """Return the attributes of a room in the form in which the backend has them."""
    return base64.urlsafe_b64encode(attributes).rstrip(b"=").decode("ascii")


def unpacked(stored: str) -> bytes:
    """Return the attributes of a room; b"" for none, or for a text that no relay has written."""
    try:
        return read_base64(stored.encode("ascii"))
    except ValueError:
        return b""


def subject_mark(subject: str) -> str:
    """Return the fingerprint that stands for a token's subject in Redis; "" for ""."""
    return ids.fingerprint(f"subject {subject}")[:32] if subject else ""


async def stored_change(room: str, change: RuleChange, passwords: Passwords, *, by_member: bool = False) -> Change:
    """Return a change as the backend takes it; the key is derived from a password here.

    An owner whom a member names is elected, and hands the room over when it leaves. For one whom a server or a token
    names, the room waits.
    """
    fields: dict[str, str] = {}
    removed: list[str] = []
    for name, value in (("l", change.locked), ("h", None if change.history is None else not change.history)):
        if value:
            fields[name] = "0" if name == "h" else "1"
        elif value is not None:
            removed.append(name)
    for name, number in (("m", change.max_members), ("t", change.ttl)):
        if number:
            fields[name] = str(number)
        elif number is not None:
            removed.append(name)
    if change.password:
        fields["s"] = passwords.salt(room, change.password)
        fields["p"] = await passwords.derive(room, fields["s"], change.password)
    elif change.password is not None:
        removed += ["s", "p"]
    if change.owner:
        fields["o"] = change.owner
        if by_member:
            fields["e"] = "1"
        else:
            removed.append("e")
    elif change.owner is not None:
        removed += ["o", "e"]
    return Change(set=" ".join(f"{name}={value}" for name, value in fields.items()), remove=" ".join(removed))
