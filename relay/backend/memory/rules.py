"""Room rules of a process without Redis."""

import asyncio
from collections.abc import Awaitable, Sequence

from msgspec import structs

from relay.backend.memory.state import MemoryEntry, MemoryRoom, MemoryRooms
from relay.backend.presence import JoinAttempt, LeaveReason
from relay.backend.rules import (
    KICK,
    KICK_MARK,
    PEER,
    SUBJECT,
    Ban,
    Change,
    Kicking,
    PasswordNeeded,
    RulesLost,
    StoredRules,
    changed,
    read_rules,
    with_bans,
    without_given,
    write_rules,
)
from relay.backend.settings import RoomSettings
from relay.model.errors import Refused
from relay.model.events import Kicked, MemberLeft, Moved, RoomClosed, RulesChanged


class MemoryRoomRules:
    """Rules in a dictionary, and their effects on members: the store and the controls."""

    def __init__(self, rooms: MemoryRooms, settings: RoomSettings) -> None:
        self._rooms = rooms
        self._settings = settings

    async def read(self, room: str) -> StoredRules | None:
        """Look the rules up."""
        return self._rooms.rules_of(room)

    async def change(self, room: str, change: Change, *, by: str = "", create: bool = False) -> StoredRules:
        """Change as govern.lua does."""
        known, state = self._rooms.rules_of(room), self._rooms.peek(room)
        if known is None and state is None and not create:
            raise Refused("no_such_room", room=room)
        rules = changed(known, change, self._rooms.now_us())
        self._set(room, structs.replace(rules, made=rules.made or create), by)
        return self._rooms.rules[room]

    def restore(self, room: str, rules: StoredRules) -> Awaitable[StoredRules]:
        """Record the rules if they are newer."""
        known = self._rooms.rules_of(room)
        if known is None or known.version < rules.version:
            self._put(room, rules)
            known = rules
        restored: asyncio.Future[StoredRules] = asyncio.get_running_loop().create_future()
        restored.set_result(known)
        return restored

    def keep(self, room: str, rules: StoredRules | None) -> None:
        """Do nothing: memory never loses the rules of a room alone."""

    async def kick(self, kicking: Kicking) -> int:
        """Kick as kick.lua does, for each peer."""
        room = kicking.room
        state = self._rooms.peek(room)
        members = state.members if state else {}
        peers = [kicking.peer] if kicking.peer else [p for p, one in members.items() if one.subject == kicking.subject]
        subjects = {one.subject for peer, one in members.items() if peer in peers} | {kicking.subject}
        self._ban(kicking, peers, subjects)
        out = [(peer, members[peer]) for peer in peers if peer in members]
        for peer, entry in out:
            if state is not None:
                self._kick(room, state, peer, entry, kicking.reason)
        return len(out)

    async def close(self, room: str, *, reason: str = "") -> int:
        """Close as close.lua does, in one step."""
        state = self._rooms.peek(room)
        if state is None:
            self._rooms.rules.pop(room, None)
            self._rooms.rule_ends.pop(room, None)
            return 0
        peers = list(state.members)
        known = self._rooms.rules_of(room) or StoredRules()
        self._rooms.rules[room] = StoredRules(version=max(known.version + 1, self._rooms.now_us()))
        self._rooms.emit(RoomClosed(room, state.next_id(), reason))
        for peer in peers:
            self._rooms.prepared.pop((room, peer), None)
            self.remove(room, state, peer, "closed")
        return len(peers)

    async def move(self, room: str, to: str, peers: Sequence[str] | None) -> int:
        """Emit the event."""
        state = self._rooms.peek(room)
        present = [] if state is None else [peer for peer in peers or state.members if peer in state.members]
        if state is not None and present:
            self._rooms.emit(Moved(room, state.next_id(), to, None if peers is None else tuple(peers)))
        return len(present)

    # For presence.

    def check(self, attempt: JoinAttempt, members: int, *, renamed: bool) -> None:
        """Check a new membership as join.lua does; `members` is the number of those that the room has.

        A client that is `renamed` is one of them.
        """
        room = attempt.room
        rules = self._rooms.rules_of(room)
        if attempt.opens and members:
            raise Refused("room_exists", room=room)
        if attempt.opens is False and not members and not (rules and rules.keep_room):
            raise Refused("no_such_room", room=room)
        if attempt.known and (rules is None or rules.version < attempt.known):
            raise RulesLost()
        if rules is None:
            return
        if rules.bans_of(attempt.subject, attempt.peer, self._rooms.now_us() // 1000):
            raise Refused("banned", room=room)
        if renamed:
            return
        if rules.locked:
            raise Refused("room_locked", room=room)
        if rules.derived and attempt.password != rules.derived:
            raise PasswordNeeded(room, rules.salt, wrong=bool(attempt.password))
        if rules.max_members is not None and members >= rules.max_members:
            raise Refused("room_full", f"{room} has {rules.max_members} members", room=room)

    def opened(self, attempt: JoinAttempt, *, first: bool) -> StoredRules | None:
        """Return the rules of a room that a client has joined; its `first` member may give it rules, and owns it."""
        room, rules = attempt.room, self._rooms.rules_of(attempt.room)
        before = rules
        if first and attempt.opening and (rules is None or _are_none(rules)):
            rules = read_rules(attempt.opening)
        owns = self._settings.owners or bool(attempt.attributes)
        if first and owns and not (rules and rules.owner):
            rules = structs.replace(rules or StoredRules(), owner=attempt.peer, elected=True)
        if first and attempt.attributes:
            rules = structs.replace(rules or StoredRules(), attributes=attempt.attributes)
        if rules is not None and rules is not before:
            version = max((before.version if before else 0) + 1, self._rooms.now_us())
            self._set(room, structs.replace(rules, version=version))
        elif rules is not None:
            self._rooms.rule_ends.pop(room, None)
        return self._rooms.rules_of(room)

    def remove(self, room: str, state: MemoryRoom, peer: str, reason: LeaveReason) -> None:
        """Remove a member, and hand its room over if it was the owner."""
        state.remove(peer)
        self._rooms.positions.pop((room, peer), None)
        stored = bool(state.members or state.history)
        left = MemberLeft(room, state.next_id(), peer)
        self._rooms.emit(left, stored=stored)
        self.report_leave(left, state, reason)
        self._hand_over(room, state, peer)
        if not state.members:
            self._rooms.mark_idle(room)
            rules = self._rooms.rules_of(room)
            if rules is not None:
                kept = without_given(rules)
                if kept != rules:
                    kept = structs.replace(kept, version=max(rules.version + 1, self._rooms.now_us()))
                self._put(room, kept)

    def report_leave(self, left: MemberLeft, state: MemoryRoom, reason: LeaveReason) -> None:
        """Tell the webhook, if there is one."""
        if self._rooms.webhook is not None:
            self._rooms.webhook.add_leave(left, last=not state.members, reason=reason)

    def _hand_over(self, room: str, state: MemoryRoom, peer: str) -> None:
        rules = self._rooms.rules_of(room)
        if rules is None or rules.owner != peer or not rules.elected:
            return
        version = max(rules.version + 1, self._rooms.now_us())
        if state.members:
            # A connected member comes before a held one.
            eldest = min(state.members, key=lambda one: (state.members[one].held > 0, state.members[one].began))
            self._set(room, structs.replace(rules, owner=eldest, elected=True, version=version))
        else:
            self._put(room, structs.replace(rules, owner="", elected=False, version=version))

    def _kick(self, room: str, state: MemoryRoom, peer: str, entry: MemoryEntry, reason: str) -> None:
        self._rooms.emit(Kicked(room, state.next_id(), peer, reason, entry.generation))
        self._rooms.prepared.pop((room, peer), None)
        self.remove(room, state, peer, "kicked")

    def _ban(self, kicking: Kicking, peers: Sequence[str], subjects: set[str]) -> None:
        """Mark the kicks, so that no worker records the members anew, and ban the clients."""
        room, now = kicking.room, self._rooms.now_us() // 1000
        state = self._rooms.peek(room)
        members = state.members if state else {}
        until = now + round(KICK_MARK * 1000)
        bans = [Ban(until, KICK, peer, members[peer].generation) for peer in peers if peer in members]
        if kicking.ban:
            until = now + round(kicking.ban * 1000)
            bans += [Ban(until, PEER, peer) for peer in peers]
            bans += [Ban(until, SUBJECT, subject) for subject in subjects if subject]
        if bans:
            rules = with_bans(self._rooms.rules_of(room) or StoredRules(), bans, now)
            version = max(rules.version + 1, self._rooms.now_us())
            self._set(room, structs.replace(rules, version=version), kicking.by)

    def _set(self, room: str, rules: StoredRules, by: str = "") -> None:
        """Record rules, and tell the room."""
        self._put(room, rules)
        state = self._rooms.peek(room)
        if state is not None:
            self._rooms.emit(RulesChanged(room, state.next_id(), rules.public, by, write_rules(rules)))

    def _put(self, room: str, rules: StoredRules) -> None:
        state = self._rooms.peek(room)
        occupied = state is not None and bool(state.members)
        self._rooms.rules[room] = rules
        if occupied:
            self._rooms.rule_ends.pop(room, None)
        else:
            ttl = self._settings.rules_ttl if rules.ttl is None else rules.ttl
            if _are_none(rules):
                # The version stays for a while: a worker that has the former rules must not take them for lost.
                ttl = self._settings.idle_ttl
            self._rooms.rule_ends[room] = self._rooms.clock() + ttl


def _are_none(rules: StoredRules) -> bool:
    """Whether there are no rules but a version."""
    return rules == StoredRules(version=rules.version)
