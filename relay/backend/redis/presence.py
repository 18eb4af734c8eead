"""Presence and leases in Redis: one hash per room, one sorted set of leases, one set of rooms per lease."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from relay.backend.presence import HeldMember, JoinResult, LeaseName, LeaseStatus, PresenceEntry, Terms
from relay.backend.redis.client import RedisClient, ignore
from relay.backend.redis.connection import pack
from relay.backend.redis.keys import Keys
from relay.backend.redis.scripts import ADOPT, ANNOUNCE, BEAT, JOIN, LEAVE, ROSTER
from relay.model.envelope import BEFORE_ALL, MessageId, read_id
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
        self, client: RedisClient, keys: Keys, lease: LeaseName, terms: Terms, registered: RegisteredRooms
    ) -> None:
        self._client = client
        self._keys = keys
        self._lease = lease
        self._terms = terms
        self._presence_ttl = _ms(terms.presence_ttl)
        self._sequence_ttl = _ms(terms.sequence_ttl)
        # As the scripts want it; see prelude.lua.
        self._log = f"{terms.log_length} {_ms(terms.log_age)}"
        self._registered = registered

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
            offered or _NONE,
            fresh or _NONE,
            # Where there is room for nobody, only who has a place is let in.
            0 if back else self._terms.members_per_room,
            self._presence_ttl,
            self._sequence_ttl,
            self._terms.presence_list if roster else 0,
            self._log,
            *seen,
            self._client.deadline,
        )
        if not registered:
            self._registered.add(lease, room)
        if reply[0] == b"late":
            raise Unavailable(_LATE)
        if reply[0] == b"taken":
            raise Refused("peer_taken", f"{peer} is in use in {room}", peer=peer, room=room)
        if reply[0] == b"full" and back:
            raise Refused("not_joined", room=room)
        if reply[0] == b"full":
            raise Refused("room_full", f"{room} has {self._terms.members_per_room} members", room=room)
        status, generation, message_id, listed, began, first = reply
        current = read_id(message_id)
        present = _roster(listed, current) if roster else None
        return JoinResult(int(generation), current, status == b"resumed", present, read_id(began), first=bool(first))

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
            self._sequence_ttl,
            self._log,
            *entry.seen,
        )

    async def roster(self, room: str) -> Roster:
        """See `Presence.roster`."""
        message_id, listed = await self._client.run(ROSTER, self._keys.of_room(room), self._terms.presence_list)
        return _roster(listed, MessageId.parse(message_id.decode()) if message_id else MessageId(0, 0))

    async def rooms(self) -> Sequence[tuple[str, int]]:
        """See `Presence.rooms`."""
        leases = await self._client.call("ZRANGE", self._keys.workers, 0, -1)
        sets = await asyncio.gather(
            *[self._client.call("SMEMBERS", self._keys.worker_rooms(lease.decode())) for lease in leases]
        )
        names = sorted({room.decode() for rooms in sets for room in rooms})
        counts: list[int] = []
        for start in range(0, len(names), _BATCH):
            counts += await asyncio.gather(
                *[self._client.call("HLEN", self._keys.of_room(room)[1]) for room in names[start : start + _BATCH]]
            )
        return [(room, count) for room, count in zip(names, counts, strict=True) if count]

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
            self._sequence_ttl,
            self._log,
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
        self, client: RedisClient, keys: Keys, lease: LeaseName, terms: Terms, registered: RegisteredRooms
    ) -> None:
        self._client = client
        self._keys = keys
        self._lease = lease
        self._terms = terms
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

    async def rooms_of(self, lease: str) -> Sequence[str]:
        """See `Leases.rooms_of`."""
        return sorted(room.decode() for room in await self._client.call("SMEMBERS", self._keys.worker_rooms(lease)))

    async def adopt(self, room: str, lease: str) -> Sequence[HeldMember]:
        """See `Leases.adopt`; a hold begins when the dead worker could last have been alive."""
        if lease not in self._deadlines:
            return []
        alive = self._deadlines[lease] - _ms(self._terms.lease) + _ms(self._terms.beat_interval)
        rooms = self._keys.worker_rooms(str(self._lease))
        _, adopted = await asyncio.gather(
            self._client.call("SADD", rooms, room),
            self._client.run(ADOPT, self._keys.of_room(room), lease, str(self._lease), alive + _ms(self._terms.grace)),
        )
        return [
            HeldMember(room, peer.decode(), int(generation), int(left) / 1000) for peer, generation, left in adopted
        ]

    async def bury(self, lease: str = "") -> None:
        """See `Leases.bury`; without a name, this worker's own lease ends now and is left to the others."""
        if not lease:
            seconds, _ = await self._client.call("TIME")
            # Half a millisecond tells it from one that ran out: those are whole.
            await self._client.call("ZADD", self._keys.workers, "XX", int(seconds) * 1000 - 0.5, str(self._lease))
            return
        await asyncio.gather(
            self._client.call("DEL", self._keys.worker_rooms(lease)),
            self._client.call("ZREM", self._keys.workers, lease),
        )

    async def touch(self, rooms: Sequence[str], gone: Sequence[str] = ()) -> None:
        """See `Leases.touch`."""
        own = self._keys.worker_rooms(str(self._lease))
        presence_ttl, sequence_ttl = _ms(self._terms.presence_ttl), _ms(self._terms.sequence_ttl)
        calls = [self._client.call("PEXPIRE", own, presence_ttl)] if rooms else []
        if gone:
            self._registered.forget(gone)
            calls.append(self._client.call("SREM", own, *gone))
        for room in rooms:
            meta, presence, *_ = self._keys.of_room(room)
            calls.append(self._client.call("PEXPIRE", presence, presence_ttl))
            calls.append(self._client.call("PEXPIRE", meta, sequence_ttl))
        await asyncio.gather(*calls)

    async def _beat(self, *, fresh: bool) -> tuple[int, Sequence[bytes]]:
        ttl = max(self._terms.presence_ttl, 2 * self._terms.lease)
        asked = self._client.time
        lapsed, flat, now = await self._client.run(
            BEAT, (self._keys.workers,), str(self._lease), _ms(self._terms.lease), _ms(ttl), int(fresh)
        )
        self._client.tell_time(now, asked)
        return lapsed, flat


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _roster(listed: Sequence[Any], current: MessageId) -> Roster:
    count, flat = listed
    members = [
        Present(peer.decode(), held not in (b"0", None)) for peer, held in zip(flat[::2], flat[1::2], strict=True)
    ]
    return Roster(count, sorted(members, key=lambda member: member.peer), current)
