"""Presence and leases of a single process."""

import asyncio
from collections.abc import AsyncIterator, Container, Mapping, Sequence
from itertools import islice
from operator import attrgetter

from msgspec import structs

from relay.backend.headroom import Level
from relay.backend.memory.rules import MemoryRoomRules
from relay.backend.memory.state import MemoryEntry, MemoryRoom, MemoryRooms
from relay.backend.presence import (
    ADOPTION_BATCH,
    Contested,
    HeldMember,
    JoinAttempt,
    JoinResult,
    LeaseEnd,
    LeaseName,
    LeaseStatus,
    PresenceEntry,
    Touched,
    taken,
    too_many_places,
)
from relay.backend.settings import LeaseSettings, RoomSettings
from relay.backend.stamps import Order, Stamp, join_previous, order, split_previous
from relay.model.errors import Refused
from relay.model.events import MemberChanged, MemberJoined, MemberLeft, Present, Roster, TakenOver
from relay.model.standing import Standing


class MemoryPresence:
    """Presence in dictionaries: every method is done when it returns, and none raises `Unavailable`.

    `waiting` has the rooms in which messages wait for absent members.
    """

    def __init__(
        self, rooms: MemoryRooms, lease: LeaseName, settings: RoomSettings, waiting: Container[str] = ()
    ) -> None:
        self._rooms = rooms
        self._lease = lease
        self._settings = settings
        self._waiting = waiting
        self._rules = MemoryRoomRules(rooms, settings)

    def _exists(self, attempt: JoinAttempt) -> bool:
        """Whether a room exists; where clients open none, it has members or was made."""
        state = self._rooms.peek(attempt.room)
        if attempt.barred != "no_such_room":
            return state is not None
        rules = self._rooms.rules_of(attempt.room)
        return bool(state and state.members) or (rules is not None and rules.keep_room)

    async def join(self, attempt: JoinAttempt) -> JoinResult:
        """Join as join.lua does."""
        room, peer, offered = attempt.room, attempt.peer, attempt.offered
        known = self._rooms.peek(room)
        if attempt.resume_only and not (known and peer in known.members):
            raise Refused("not_joined", room=room)
        is_new = known is None
        if attempt.barred and not self._exists(attempt):
            raise Refused(attempt.barred, room=room)
        if self._rooms.headroom.level is Level.FULL and not (known and peer in known.members):
            raise Refused("memory_low", room=room)
        if not (known and peer in known.members):
            self._rules.check(attempt, len(known.members) if known else 0, renamed=_is_renamed(attempt, known))
        state = self._rooms.room(room)
        before = state.members.get(peer)
        repeated = self._check_key(before, attempt) if before else False
        if not before and not _is_renamed(attempt, state):
            self._check_places(attempt, state)
        is_alone = not state.members
        generation = self._rooms.next_generation()
        message_id = state.next_id()
        began = before.began if before else message_id
        old_info = before.info if before else b""
        info = attempt.info or old_info
        # A client that offers its previous key again did not receive the last reply: it gets the same answer.
        was_first = before is not None and repeated and split_previous(before.previous)[2]
        first = was_first or len(state.members) == (before is not None)
        previous = join_previous(offered, attempt.stamp, first=first)
        entry = MemoryEntry(
            generation=generation,
            lease=str(self._lease),
            current=(attempt.derived if before else "") or attempt.fresh,
            previous=previous,
            began=began,
            info=info,
            address=attempt.address,
            subject=attempt.subject or (before.subject if before else ""),
        )
        state.put(peer, entry)
        joined = (
            TakenOver(room, message_id, peer, generation, repeated) if before else MemberJoined(room, message_id, peer)
        )
        self._rooms.emit(joined, stored=not is_alone)
        if self._rooms.webhook is not None and not before:
            self._rooms.webhook.add_join(joined, first=is_alone, info=info, subject=attempt.token_subject)
        if info != old_info:
            self._rooms.emit(MemberChanged(room, state.next_id(), peer, info), stored=not is_alone)
        rules = self._rules.opened(attempt, first=is_alone)
        return JoinResult(
            generation=generation,
            id=state.id,
            resumed=before is not None,
            roster=self._roster(state, self._settings.roster) if attempt.roster else None,
            began=began,
            first=first,
            info=info,
            previous=previous,
            created=is_new,
            rules=rules,
            has_waiting=room in self._waiting,
        )

    def _check_places(self, attempt: JoinAttempt, state: MemoryRoom) -> None:
        room = attempt.room
        if len(state.members) >= self._settings.members:
            raise Refused("room_full", f"{room} has {self._settings.members} members", room=room)
        if state.places.get(attempt.address, 0) >= self._settings.places:
            raise too_many_places(room, self._settings.places)

    async def announce(self, entries: Sequence[PresenceEntry]) -> Sequence[PresenceEntry]:
        """Record each entry as announce.lua does."""
        return [entry for entry in entries if not self._announce(entry)]

    async def change(self, entry: PresenceEntry) -> bool:
        """Change as change.lua does."""
        state = self._rooms.peek(entry.room)
        recorded = state and state.members.get(entry.peer)
        if not state or not recorded or recorded.lease != str(self._lease) or recorded.generation != entry.generation:
            return False
        if recorded.info != entry.info:
            recorded.info = entry.info
            self._rooms.emit(MemberChanged(entry.room, state.next_id(), entry.peer, entry.info))
        return True

    def leave(self, entry: PresenceEntry, *, hold: float = 0) -> asyncio.Future[bool]:
        """Leave as leave.lua does; the future that is returned is done already."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        done.set_result(self._leave(entry, hold))
        return done

    async def roster(self, room: str, limit: int | None = None) -> Roster:
        """Return the roster; of a room with more members than a roster names, those that joined first are in it."""
        state = self._rooms.peek(room)
        return self._roster(state, self._settings.roster if limit is None else limit) if state else Roster(0)

    async def standings(self, room: str, peers: Sequence[str]) -> Mapping[str, Standing]:
        """Return the standings: the one worker is alive, and its lease ends later whenever it is asked."""
        state = self._rooms.peek(room)
        entries = {} if state is None else state.members
        now = self._rooms.clock() * 1000
        return {peer: Standing(bool(entries[peer].held), now) for peer in peers if peer in entries}

    def _check_key(self, before: MemoryEntry, attempt: JoinAttempt) -> bool:
        """Check the offered key, and the order of the attempts; return whether the key was replaced by a newer one."""
        room, peer, offered = attempt.room, attempt.peer, attempt.offered
        fingerprint, stamp, _ = split_previous(before.previous)
        kept = offered == before.current == fingerprint
        if offered and offered == before.current and not kept:
            return False
        if not offered or offered != fingerprint:
            raise taken(room, peer, held=bool(before.held))
        its = order(
            Stamp.parse(attempt.stamp),
            Stamp.parse(stamp),
            round(self._rooms.clock() * 1_000_000),
            same_worker=before.lease == str(self._lease),
        )
        if its is Order.OLDER:
            raise Refused("superseded", peer=peer, room=room)
        if not before.held and not (attempt.insists and (its is Order.NEWER or kept)):
            raise Contested(room, peer, newer=its is Order.NEWER)
        return not kept

    def _leave(self, entry: PresenceEntry, hold: float) -> bool:
        state = self._rooms.peek(entry.room)
        recorded = state and state.members.get(entry.peer)
        if state and not recorded and entry.connected and entry.generation:
            lost = MemberLeft(entry.room, state.next_id(), entry.peer)
            self._rooms.emit(lost)
            self._rules.report_leave(lost, state, entry.reason)
        if not state or not recorded:
            return False
        if self._is_behind(recorded, entry):
            if hold > 0:
                return self._announce(structs.replace(entry, hold=hold))
            self._rules.remove(entry.room, state, entry.peer, entry.reason)
            return True
        if recorded.lease not in self._lease.own:
            return False
        # The generation of a member whose join got no reply is unknown (0). Then its stamp identifies the entry, or the
        # fingerprint of its new resume key.
        if entry.generation and recorded.generation != entry.generation:
            return False
        if not entry.generation and entry.stamp and split_previous(recorded.previous)[1] != entry.stamp:
            return False
        if not entry.generation and not entry.stamp and recorded.current != entry.current:
            return False
        if hold > 0:
            recorded.held = self._rooms.clock() + hold
            return True
        self._rules.remove(entry.room, state, entry.peer, entry.reason)
        return True

    def _is_behind(self, recorded: MemoryEntry, entry: PresenceEntry) -> bool:
        """Whether the recorded entry is an earlier one of the same membership, as leave.lua says."""
        return recorded.generation < entry.generation and self._order(recorded, entry) is Order.NEWER

    def _order(self, recorded: MemoryEntry, entry: PresenceEntry) -> Order:
        """Return how an entry's attempt stands to the recorded one; that of another membership cannot be compared."""
        if recorded.began != entry.began or recorded.generation == entry.generation:
            return Order.UNCLEAR
        return order(
            Stamp.parse(split_previous(entry.previous)[1]),
            Stamp.parse(split_previous(recorded.previous)[1]),
            round(self._rooms.clock() * 1_000_000),
            same_worker=recorded.lease in self._lease.own,
        )

    def _announce(self, entry: PresenceEntry) -> bool:
        state = self._rooms.room(entry.room)
        before = state.members.get(entry.peer)
        if before and before.generation > entry.generation:
            return False
        if before and self._order(before, entry) is Order.OLDER:
            return False
        rules = self._rooms.rules_of(entry.room)
        if not before and rules and rules.was_kicked(entry.peer, entry.generation):
            return False
        recorded = MemoryEntry(
            generation=entry.generation,
            lease=str(self._lease),
            current=entry.current,
            previous=entry.previous,
            began=entry.began,
            held=self._rooms.clock() + entry.hold if entry.hold else 0,
            info=entry.info,
            address=entry.address,
            subject=entry.subject,
        )
        is_first = not state.members
        state.put(entry.peer, recorded)
        if not before:
            joined = MemberJoined(entry.room, state.next_id(), entry.peer)
            self._rooms.emit(joined)
            if self._rooms.webhook is not None:
                self._rooms.webhook.add_join(joined, first=is_first, info=entry.info, restored=True)
        elif before.generation < entry.generation:
            self._rooms.emit(TakenOver(entry.room, state.next_id(), entry.peer, entry.generation))
        if entry.info != (before.info if before else b""):
            self._rooms.emit(MemberChanged(entry.room, state.next_id(), entry.peer, entry.info))
        return True

    def _roster(self, state: MemoryRoom, limit: int) -> Roster:
        listed, size = list[Present](), 0
        for peer, entry in islice(state.members.items(), limit):
            size += len(peer) + len(entry.info)
            if size > self._settings.roster_bytes:
                break
            listed.append(Present(peer, bool(entry.held), entry.info))
        return Roster(len(state.members), sorted(listed, key=attrgetter("peer")), state.id)


def _is_renamed(attempt: JoinAttempt, state: MemoryRoom | None) -> bool:
    given_up = state.members.get(attempt.renamed.peer) if state else None
    return given_up is not None and given_up.generation == attempt.renamed.generation


class MemoryLeases:
    """Leases of the workers that share one `MemoryRooms`: one in operation, several in tests."""

    def __init__(self, rooms: MemoryRooms, lease: LeaseName, settings: LeaseSettings) -> None:
        self._rooms = rooms
        self._lease = lease
        self._settings = settings
        self._begun = False

    async def beat(self) -> LeaseStatus:
        """Renew the lease, and drop expired events of all rooms."""
        self._rooms.forget_expired()
        now, leases = self._rooms.clock(), self._rooms.leases
        ended: LeaseEnd = "lapsed" if self._begun and leases.get(str(self._lease), 0) < now else ""
        if ended:
            self._lease.renew()
        leases[str(self._lease)] = now + self._settings.duration
        self._begun = True
        dead = [name for name, deadline in leases.items() if deadline < now]
        return LeaseStatus(ended, dead, self._rooms.retired.intersection(dead))

    async def adopt(self, lease: str) -> AsyncIterator[Sequence[HeldMember]]:
        """Look through all rooms, as no index tells in which of them a lease has members."""
        deadline = self._rooms.leases.get(lease)
        if deadline is None:
            return
        names = [name for name, _ in self._rooms.occupied()]
        for start in range(0, len(names), ADOPTION_BATCH):
            batch = names[start : start + ADOPTION_BATCH]
            yield [held for name in batch for held in self._adopt_room(name, lease, deadline)]

    async def forget(self, lease: str) -> None:
        """Drop the lease's record."""
        self._rooms.leases.pop(lease, None)
        self._rooms.retired.discard(lease)

    async def retire(self) -> None:
        """Set the lease's deadline to the past."""
        if str(self._lease) in self._rooms.leases:
            self._rooms.leases[str(self._lease)] = self._rooms.clock() - 1
            self._rooms.retired.add(str(self._lease))

    async def touch(self, rooms: Mapping[str, str], left: Sequence[str] = ()) -> Touched:
        """Do nothing: rooms in memory have no time to live, and only idle ones are forgotten."""
        return Touched(())

    def _adopt_room(self, name: str, lease: str, deadline: float) -> list[HeldMember]:
        state, now = self._rooms.peek(name), self._rooms.clock()
        # The dead worker renewed its lease at `deadline - duration`, and lived for less than an interval after that.
        last_alive = deadline - self._settings.duration + self._settings.interval
        adopted: list[HeldMember] = []
        for peer, entry in state.members.items() if state else ():
            if entry.lease == lease:
                entry.held = entry.held or last_alive + self._settings.grace
                entry.lease = str(self._lease)
            if entry.lease == str(self._lease) and entry.held:
                adopted.append(HeldMember(name, peer, entry.generation, max(0.0, entry.held - now)))
        return adopted
