"""Presence and leases of a single process."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from relay.backend.memory.state import MemoryEntry, MemoryRoom, MemoryRooms
from relay.backend.presence import (
    ADOPTION_BATCH,
    HeldMember,
    JoinAttempt,
    JoinResult,
    LeaseName,
    LeaseStatus,
    PresenceEntry,
)
from relay.backend.settings import LeaseSettings, RoomSettings
from relay.model.errors import Refused
from relay.model.events import MemberJoined, MemberLeft, Present, Roster, TakenOver


class MemoryPresence:
    """Presence in dictionaries: every method is done when it returns, and none raises `Unavailable`."""

    def __init__(self, rooms: MemoryRooms, lease: LeaseName, settings: RoomSettings) -> None:
        self._rooms = rooms
        self._lease = lease
        self._settings = settings

    async def join(self, attempt: JoinAttempt) -> JoinResult:
        """Join as join.lua does."""
        room, peer, offered = attempt.room, attempt.peer, attempt.offered
        known = self._rooms.peek(room)
        if attempt.resume_only and not (known and peer in known.members):
            raise Refused("not_joined", room=room)
        state = self._rooms.room(room)
        before = state.members.get(peer)
        if before and not (offered and offered in {before.current, before.previous}):
            raise Refused("peer_taken", f"{peer} is in use in {room}", peer=peer, room=room)
        if not before and len(state.members) >= self._settings.members:
            raise Refused("room_full", f"{room} has {self._settings.members} members", room=room)
        generation = self._rooms.next_generation()
        message_id = state.next_id()
        began = before.began if before else message_id
        state.members[peer] = MemoryEntry(
            generation=generation,
            lease=str(self._lease),
            current=attempt.fresh,
            previous=offered,
            began=began,
        )
        self._rooms.emit(
            TakenOver(room, message_id, peer, generation) if before else MemberJoined(room, message_id, peer)
        )
        # A client that offers the previous key again did not receive the reply to its last attempt.
        repeated = before is not None and offered == before.previous
        alone = len(state.members) == 1
        return JoinResult(
            generation=generation,
            id=message_id,
            resumed=before is not None,
            roster=self._roster(state) if attempt.roster else None,
            began=began,
            first=alone or (repeated and began == min(entry.began for entry in state.members.values())),
        )

    async def announce(self, entries: Sequence[PresenceEntry]) -> Sequence[PresenceEntry]:
        """Record each entry as announce.lua does."""
        return [entry for entry in entries if not self._announce(entry)]

    def leave(self, entry: PresenceEntry, *, hold: float = 0) -> asyncio.Future[bool]:
        """Leave as leave.lua does; the future that is returned is done already."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        done.set_result(self._leave(entry, hold))
        return done

    async def roster(self, room: str) -> Roster:
        """Return the roster; of a room with more members than a roster names, those that joined first are in it."""
        state = self._rooms.peek(room)
        return self._roster(state) if state else Roster(0)

    async def rooms(self) -> Sequence[tuple[str, int]]:
        """Return the rooms of this process, which are all there are."""
        return self._rooms.occupied()

    def _leave(self, entry: PresenceEntry, hold: float) -> bool:
        state = self._rooms.peek(entry.room)
        recorded = state and state.members.get(entry.peer)
        if not state or not recorded or recorded.lease != str(self._lease):
            return False
        # The generation of a member whose join got no reply is unknown (0). Then the fingerprint of its new resume key
        # identifies the entry.
        if entry.generation and recorded.generation != entry.generation:
            return False
        if not entry.generation and recorded.current != entry.current:
            return False
        if hold > 0:
            recorded.held = self._rooms.clock() + hold
            return True
        del state.members[entry.peer]
        self._rooms.emit(MemberLeft(entry.room, state.next_id(), entry.peer))
        if not state.members:
            self._rooms.mark_idle(entry.room)
        return True

    def _announce(self, entry: PresenceEntry) -> bool:
        state = self._rooms.room(entry.room)
        before = state.members.get(entry.peer)
        if before and before.generation > entry.generation:
            return False
        state.members[entry.peer] = MemoryEntry(
            generation=entry.generation,
            lease=str(self._lease),
            current=entry.current,
            previous=entry.previous,
            began=entry.began,
        )
        if not before:
            self._rooms.emit(MemberJoined(entry.room, state.next_id(), entry.peer))
        elif before.generation < entry.generation:
            self._rooms.emit(TakenOver(entry.room, state.next_id(), entry.peer, entry.generation))
        return True

    def _roster(self, state: MemoryRoom) -> Roster:
        names = sorted(list(state.members)[: self._settings.roster])
        members = [Present(peer, held=bool(state.members[peer].held)) for peer in names]
        return Roster(len(state.members), members, state.id)


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
        lapsed = self._begun and leases.get(str(self._lease), 0) < now
        if lapsed:
            self._lease.renew()
        leases[str(self._lease)] = now + self._settings.duration
        self._begun = True
        dead = [name for name, deadline in leases.items() if deadline < now]
        return LeaseStatus(lapsed, dead, self._rooms.retired.intersection(dead))

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

    async def touch(self, rooms: Sequence[str], left: Sequence[str] = ()) -> None:
        """Do nothing: rooms in memory have no time to live, and only idle ones are forgotten."""

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
