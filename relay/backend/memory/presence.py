"""Presence and leases of a process on its own."""

import asyncio
from collections.abc import Sequence

from relay.backend.memory.state import MemoryEntry, MemoryRoom, MemoryRooms
from relay.backend.presence import HeldMember, JoinResult, LeaseName, LeaseStatus, PresenceEntry, Terms
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.errors import Refused
from relay.model.events import MemberJoined, MemberLeft, Present, Roster, TakenOver


class MemoryPresence:
    """See `Presence`."""

    def __init__(self, rooms: MemoryRooms, lease: LeaseName, terms: Terms) -> None:
        self._rooms = rooms
        self._lease = lease
        self._terms = terms

    async def join(
        self,
        room: str,
        peer: str,
        *,
        offered: str,
        fresh: str,
        roster: bool,
        seen: MessageId = BEFORE_ALL,
        back: bool = False,
    ) -> JoinResult:
        """See `Presence.join`."""
        known = self._rooms.peek(room)
        if back and not (known and peer in known.places):
            raise Refused("not_joined", room=room)
        state = self._rooms.room(room)
        before = state.places.get(peer)
        if before and not (offered and offered in {before.current, before.previous}):
            raise Refused("peer_taken", f"{peer} is in use in {room}", peer=peer, room=room)
        if not before and len(state.places) >= self._terms.members_per_room:
            raise Refused("room_full", f"{room} has {self._terms.members_per_room} members", room=room)
        generation = self._rooms.next_generation()
        place = state.next_id()
        began = before.began if before else place
        state.places[peer] = MemoryEntry(generation, str(self._lease), fresh, offered, began)
        self._rooms.emit(TakenOver(room, place, peer, generation) if before else MemberJoined(room, place, peer))
        present = self._roster(state) if roster else None
        unheard = before is not None and offered == before.previous
        first = len(state.places) == 1 or (unheard and began == min(one.began for one in state.places.values()))
        return JoinResult(generation, place, before is not None, present, began, first=first)

    async def announce(self, entries: Sequence[PresenceEntry]) -> Sequence[PresenceEntry]:
        """See `Presence.announce`."""
        return [entry for entry in entries if not self._announce(entry)]

    def leave(self, entry: PresenceEntry, *, hold: float = 0) -> asyncio.Future[bool]:
        """See `Presence.leave`; there is nothing to wait for."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        done.set_result(self._leave(entry, hold))
        return done

    def _leave(self, entry: PresenceEntry, hold: float) -> bool:
        state = self._rooms.peek(entry.room)
        place = state and state.places.get(entry.peer)
        if not state or not place or place.lease != str(self._lease):
            return False
        if place.generation != entry.generation if entry.generation else place.current != entry.current:
            return False
        if hold > 0:
            place.held = self._rooms.clock() + hold
            return True
        del state.places[entry.peer]
        self._rooms.emit(MemberLeft(entry.room, state.next_id(), entry.peer))
        if not state.places:
            self._rooms.rest(entry.room)
        return True

    async def roster(self, room: str) -> Roster:
        """See `Presence.roster`."""
        state = self._rooms.peek(room)
        return self._roster(state) if state else Roster(0)

    async def rooms(self) -> Sequence[tuple[str, int]]:
        """See `Presence.rooms`."""
        return self._rooms.occupied()

    def _announce(self, entry: PresenceEntry) -> bool:
        state = self._rooms.room(entry.room)
        before = state.places.get(entry.peer)
        if before and before.generation > entry.generation:
            return False
        state.places[entry.peer] = MemoryEntry(
            entry.generation, str(self._lease), entry.current, entry.previous, entry.began
        )
        if not before:
            self._rooms.emit(MemberJoined(entry.room, state.next_id(), entry.peer))
        elif before.generation < entry.generation:
            self._rooms.emit(TakenOver(entry.room, state.next_id(), entry.peer, entry.generation))
        return True

    def _roster(self, state: MemoryRoom) -> Roster:
        names = sorted(list(state.places)[: self._terms.presence_list])
        members = [Present(peer, held=bool(state.places[peer].held)) for peer in names]
        return Roster(len(state.places), members, state.id)


class MemoryLeases:
    """See `Leases`."""

    def __init__(self, rooms: MemoryRooms, lease: LeaseName, terms: Terms) -> None:
        self._rooms = rooms
        self._lease = lease
        self._terms = terms
        self._begun = False

    async def beat(self) -> LeaseStatus:
        """See `Leases.beat`."""
        self._rooms.age()
        now, leases = self._rooms.clock(), self._rooms.leases
        lapsed = self._begun and leases.get(str(self._lease), 0) < now
        if lapsed:
            self._lease.renew()
        leases[str(self._lease)] = now + self._terms.lease
        self._begun = True
        dead = [name for name, deadline in leases.items() if deadline < now]
        return LeaseStatus(lapsed, dead, self._rooms.ended.intersection(dead))

    async def rooms_of(self, lease: str) -> Sequence[str]:
        """See `Leases.rooms_of`."""
        names = [name for name, _ in self._rooms.occupied()]
        return [name for name in names if any(p.lease == lease for p in self._rooms.room(name).places.values())]

    async def adopt(self, room: str, lease: str) -> Sequence[HeldMember]:
        """See `Leases.adopt`."""
        deadline, state, now = self._rooms.leases.get(lease), self._rooms.peek(room), self._rooms.clock()
        if deadline is None or state is None:
            return []
        alive = deadline - self._terms.lease + self._terms.beat_interval
        adopted = []
        for peer, place in state.places.items():
            if place.lease == lease:
                place.held = place.held or alive + self._terms.grace
                place.lease = str(self._lease)
            if place.lease == str(self._lease) and place.held:
                adopted.append(HeldMember(room, peer, place.generation, max(0.0, place.held - now)))
        return adopted

    async def bury(self, lease: str = "") -> None:
        """See `Leases.bury`."""
        if lease:
            self._rooms.leases.pop(lease, None)
            self._rooms.ended.discard(lease)
        elif str(self._lease) in self._rooms.leases:
            self._rooms.leases[str(self._lease)] = self._rooms.clock() - 1
            self._rooms.ended.add(str(self._lease))

    async def touch(self, rooms: Sequence[str], gone: Sequence[str] = ()) -> None:
        """See `Leases.touch`; memory forgets by itself only what is idle."""
