"""Presence and leases in Redis: one hash per room, one sorted set of leases, one set of rooms per lease."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from relay.backend.presence import (
    ADOPTION_BATCH,
    HeldMember,
    JoinAttempt,
    JoinResult,
    LeaseName,
    LeaseStatus,
    PresenceEntry,
)
from relay.backend.redis.client import RedisClient, ignore
from relay.backend.redis.connection import pack
from relay.backend.redis.keys import Keys
from relay.backend.redis.scripts import ADOPT, ANNOUNCE, BEAT, JOIN, LEAVE, ROSTER
from relay.backend.settings import BackendSettings, RoomSettings
from relay.model.envelope import MessageId, read_id
from relay.model.errors import Refused, Unavailable
from relay.model.events import Present, Roster

_BATCH = 500
_NONE = "-"
_TOO_LATE = 2
_LATE = "Redis was asked so long ago that it did nothing; its clock may have jumped"


class RegisteredRooms:
    """The rooms that Redis was told this worker has members in, under its present lease."""

    def __init__(self) -> None:
        self._lease = ""
        self._rooms: set[str] = set()

    def has(self, lease: str, room: str) -> bool:
        """Whether this room need not be told of again."""
        return lease == self._lease and room in self._rooms

    def add(self, lease: str, room: str) -> None:
        """Redis has it."""
        if lease != self._lease:
            self._lease, self._rooms = lease, set()
        self._rooms.add(room)

    def forget(self, rooms: Iterable[str] | None = None) -> None:
        """Redis has these no more, or perhaps none."""
        self._rooms.difference_update(self._rooms.copy() if rooms is None else rooms)


class RedisPresence:
    """See `Presence`."""

    def __init__(
        self, client: RedisClient, keys: Keys, lease: LeaseName, settings: RoomSettings, registered: RegisteredRooms
    ) -> None:
        self._client = client
        self._keys = keys
        self._lease = lease
        self._settings = settings
        self._presence_ttl = _ms(settings.presence_ttl)
        self._state_ttl = _ms(settings.state_ttl)
        # As the scripts want it; see prelude.lua.
        self._history = f"{settings.history.size} {_ms(settings.history.ttl)}"
        self._registered = registered

    async def join(self, attempt: JoinAttempt) -> JoinResult:
        """See `Presence.join`."""
        room, peer = attempt.room, attempt.peer
        lease = str(self._lease)
        registered = self._registered.has(lease, room)
        if not registered:
            self._note([room])
        reply = await self._client.run(
            JOIN,
            self._keys.of_room(room),
            self._keys.channel(room),
            peer,
            lease,
            attempt.offered or _NONE,
            attempt.fresh or _NONE,
            # A room for no members at all only lets members in who resume.
            0 if attempt.resume_only else self._settings.members,
            self._presence_ttl,
            self._state_ttl,
            self._settings.roster if attempt.roster else 0,
            self._history,
            *attempt.seen,
            self._client.deadline,
        )
        if not registered:
            self._registered.add(lease, room)
        if reply[0] == b"late":
            raise Unavailable(_LATE)
        if reply[0] == b"taken":
            raise Refused("peer_taken", f"{peer} is in use in {room}", peer=peer, room=room)
        if reply[0] == b"full" and attempt.resume_only:
            raise Refused("not_joined", room=room)
        if reply[0] == b"full":
            raise Refused("room_full", f"{room} has {self._settings.members} members", room=room)
        status, generation, message_id, listed, began, first = reply
        current = read_id(message_id)
        return JoinResult(
            generation=int(generation),
            id=current,
            resumed=status == b"resumed",
            roster=_roster(listed, current) if attempt.roster else None,
            began=read_id(began),
            first=bool(first),
        )

    async def announce(self, entries: Sequence[PresenceEntry]) -> Sequence[PresenceEntry]:
        """See `Presence.announce`."""
        self._registered.forget()
        lost: list[PresenceEntry] = []
        if entries:
            self._note(list({entry.room for entry in entries}))
        # All are on their way before this waits: whoever leaves from now on leaves after it.
        for entry, reply in zip(entries, await asyncio.gather(*map(self._announce, entries)), strict=True):
            if reply == _TOO_LATE:
                raise Unavailable(_LATE)
            if not reply:
                lost.append(entry)
        return lost

    def leave(self, entry: PresenceEntry, *, hold: float = 0) -> asyncio.Future[bool]:
        """See `Presence.leave`."""
        return self._client.run(
            LEAVE,
            self._keys.of_room(entry.room),
            self._keys.channel(entry.room),
            entry.peer,
            str(self._lease),
            entry.generation,
            entry.current or _NONE,
            _ms(hold),
            self._state_ttl,
            self._history,
            *entry.seen,
        )

    async def roster(self, room: str) -> Roster:
        """See `Presence.roster`."""
        message_id, listed = await self._client.run(ROSTER, self._keys.of_room(room), self._settings.roster)
        return _roster(listed, MessageId.parse(message_id.decode()) if message_id else MessageId(0, 0))

    async def rooms(self) -> Sequence[tuple[str, int]]:
        """Ask each lease for its rooms, and each room for its members' number."""
        return await occupied_rooms(self._client, self._keys)

    def _announce(self, entry: PresenceEntry) -> asyncio.Future[int]:
        return self._client.run(
            ANNOUNCE,
            self._keys.of_room(entry.room),
            self._keys.channel(entry.room),
            entry.peer,
            str(self._lease),
            entry.generation,
            entry.current or _NONE,
            entry.previous or _NONE,
            self._presence_ttl,
            self._state_ttl,
            self._history,
            *entry.seen,
            str(entry.began),
            self._client.deadline,
        )

    def _note(self, rooms: Sequence[str]) -> None:
        """Sent ahead of what makes a member, so that a survivor finds the rooms of a worker that dies in between.

        Nobody waits for it: Redis that cannot take this cannot take what follows either.
        """
        own = self._keys.worker_rooms(str(self._lease))
        self._client.send(pack("SADD", own, *rooms), ignore)
        self._client.send(pack("PEXPIRE", own, self._presence_ttl), ignore)


class RedisLeases:
    """See `Leases`."""

    def __init__(
        self, client: RedisClient, keys: Keys, lease: LeaseName, settings: BackendSettings, registered: RegisteredRooms
    ) -> None:
        self._client = client
        self._keys = keys
        self._lease = lease
        self._settings = settings.lease
        self._presence_ttl = _ms(settings.rooms.presence_ttl)
        self._state_ttl = _ms(settings.rooms.state_ttl)
        self._registered = registered
        self._begun = False
        self._lapsed = False
        self._deadlines: dict[str, int] = {}

    async def beat(self) -> LeaseStatus:
        """See `Leases.beat`."""
        lapsed, flat = await self._beat(fresh=not self._begun)
        if lapsed:
            self._registered.forget()
            self._lease.renew()
            # Not forgotten, should the answer to what follows be lost.
            self._lapsed = True
            _, flat = await self._beat(fresh=True)
        self._begun = True
        deadlines = {name.decode(): float(score) for name, score in zip(flat[::2], flat[1::2], strict=True)}
        self._deadlines = {name: int(deadline) for name, deadline in deadlines.items()}
        told, self._lapsed = self._lapsed, False
        return LeaseStatus(told, list(deadlines), {name for name, deadline in deadlines.items() if deadline % 1})

    async def adopt(self, lease: str) -> AsyncIterator[Sequence[HeldMember]]:
        """Run adopt.lua for the rooms of the lease, a batch of them at the same time."""
        deadline = self._deadlines.get(lease)
        if deadline is None:
            return
        # The dead worker renewed its lease at `deadline - duration`, and lived for less than an interval after that.
        settings = self._settings
        held_until = deadline + _ms(settings.interval + settings.grace - settings.duration)
        rooms = sorted(room.decode() for room in await self._client.call("SMEMBERS", self._keys.worker_rooms(lease)))
        for start in range(0, len(rooms), ADOPTION_BATCH):
            batch = rooms[start : start + ADOPTION_BATCH]
            adopted = await asyncio.gather(*[self._adopt(room, lease, held_until) for room in batch])
            yield [held for members in adopted for held in members]

    async def forget(self, lease: str) -> None:
        """Delete the lease and the set of its rooms."""
        await asyncio.gather(
            self._client.call("DEL", self._keys.worker_rooms(lease)),
            self._client.call("ZREM", self._keys.workers, lease),
        )

    async def retire(self) -> None:
        """Set the lease's deadline to the past."""
        seconds, _ = await self._client.call("TIME")
        # Half a millisecond tells it from a lease that ran out: the deadlines of those are whole numbers.
        await self._client.call("ZADD", self._keys.workers, "XX", int(seconds) * 1000 - 0.5, str(self._lease))

    async def touch(self, rooms: Sequence[str], left: Sequence[str] = ()) -> None:
        """Send all commands at once, and wait for their replies."""
        own = self._keys.worker_rooms(str(self._lease))
        calls = [self._client.call("PEXPIRE", own, self._presence_ttl)] if rooms else []
        if left:
            self._registered.forget(left)
            calls.append(self._client.call("SREM", own, *left))
        for room in rooms:
            meta, presence, *_ = self._keys.of_room(room)
            calls.append(self._client.call("PEXPIRE", presence, self._presence_ttl))
            calls.append(self._client.call("PEXPIRE", meta, self._state_ttl))
        await asyncio.gather(*calls)

    async def _adopt(self, room: str, lease: str, held_until: int) -> list[HeldMember]:
        rooms = self._keys.worker_rooms(str(self._lease))
        # The room is registered first, so that another survivor finds it should this worker die in between.
        _, adopted = await asyncio.gather(
            self._client.call("SADD", rooms, room),
            self._client.run(ADOPT, self._keys.of_room(room), lease, str(self._lease), held_until),
        )
        return [
            HeldMember(room, peer.decode(), int(generation), int(left) / 1000) for peer, generation, left in adopted
        ]

    async def _beat(self, *, fresh: bool) -> tuple[int, Sequence[bytes]]:
        duration = _ms(self._settings.duration)
        ttl = max(self._presence_ttl, 2 * duration)
        asked = self._client.time
        lapsed, flat, now = await self._client.run(
            BEAT, (self._keys.workers,), str(self._lease), duration, ttl, int(fresh)
        )
        self._client.tell_time(now, asked)
        return lapsed, flat


async def occupied_rooms(client: RedisClient, keys: Keys) -> list[tuple[str, int]]:
    """Return every room that has members, with their number, sorted by name: O(rooms), in batches."""
    leases = await client.call("ZRANGE", keys.workers, 0, -1)
    sets = await asyncio.gather(*[client.call("SMEMBERS", keys.worker_rooms(lease.decode())) for lease in leases])
    names = sorted({room.decode() for rooms in sets for room in rooms})
    counts: list[int] = []
    for start in range(0, len(names), _BATCH):
        counts += await asyncio.gather(
            *[client.call("HLEN", keys.of_room(room)[1]) for room in names[start : start + _BATCH]]
        )
    return [(room, count) for room, count in zip(names, counts, strict=True) if count]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _roster(listed: Sequence[Any], current: MessageId) -> Roster:
    count, flat = listed
    members = [
        Present(peer.decode(), held not in (b"0", None)) for peer, held in zip(flat[::2], flat[1::2], strict=True)
    ]
    return Roster(count, sorted(members, key=lambda member: member.peer), current)
