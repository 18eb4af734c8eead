"""Presence in Redis: a hash per room."""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import Any

from relay.backend.presence import (
    Contested,
    JoinAttempt,
    JoinResult,
    LeaseName,
    PresenceEntry,
    taken,
)
from relay.backend.redis import infos
from relay.backend.redis.client import RedisClient
from relay.backend.redis.keys import Keys
from relay.backend.redis.registration import Registration
from relay.backend.redis.replies import ScriptFailed
from relay.backend.redis.scripts import ANNOUNCE, CHANGE, JOIN, LEAVE, ROSTER, milliseconds
from relay.backend.settings import RoomSettings
from relay.backend.stamps import join_previous
from relay.model.envelope import BEFORE_ALL, MessageId, read_id
from relay.model.errors import ClientGone, Refused, Unavailable
from relay.model.events import Present, Roster

log = logging.getLogger("relay.backend.redis")

_NONE = "-"
"""The argument of a script that stands for no fingerprint."""

_NOT_WRITTEN, _WRITTEN, _TOO_LATE = 0, 1, 2
"""Results of announce.lua and change.lua."""

_UNCONFIRMED = 2
"""Result of leave.lua."""

_CONFIRMATION, _CONFIRMATION_STEP = 2.0, 0.1
"""Seconds after Redis came back in which workers confirm rooms, and between two calls of a join that waits for that.

A worker connects again within about a second.
"""

_WAITS = (milliseconds(_CONFIRMATION),) * round(_CONFIRMATION / _CONFIRMATION_STEP) + (0,)
"""For each call of a join, the time since Redis came back in which join.lua leaves an unconfirmed state alone (ms).

Redis's clock may jump, so the number of calls bounds the wait as well.
"""

_LATE = "the request reached Redis after its time was over, and did nothing; the clock of Redis may have jumped"


class RedisPresence:
    """Presence in Redis: each method calls one script, whose comments say what it does."""

    def __init__(
        self, client: RedisClient, keys: Keys, lease: LeaseName, settings: RoomSettings, registration: Registration
    ) -> None:
        self._client = client
        self._keys = keys
        self._lease = lease
        self._settings = settings
        self._state_ttl = milliseconds(settings.state_ttl)
        # In the form in which the scripts take it; see shared.lua.
        self._history = f"{settings.history.size} {milliseconds(settings.history.ttl)}"
        self._registration = registration

    async def join(self, attempt: JoinAttempt) -> JoinResult:
        """Register the room under this worker's lease, and call join.lua."""
        # Called again while a worker that knows the room may still confirm its state.
        for wait in _WAITS:
            lease = str(self._lease)
            reply = await self._run_join(attempt, lease, wait)
            if reply != [b"unconfirmed"]:
                break
            await asyncio.sleep(_CONFIRMATION_STEP)
            if attempt.is_lost():
                raise ClientGone()
        # Noted only after the reply: without one, the registration may be lost as well.
        self._registration.note(lease, [attempt.room])
        return self._joined(attempt, reply)

    def _run_join(self, attempt: JoinAttempt, lease: str, wait: int) -> Awaitable[Any]:
        room = attempt.room
        self._registration.register([room])
        return self._client.run(
            JOIN,
            self._keys.of_room(room),
            self._keys.channel(room),
            attempt.peer,
            lease,
            attempt.offered or _NONE,
            attempt.fresh or _NONE,
            # A room with a limit of 0 members still accepts clients that resume.
            0 if attempt.resume_only else self._settings.members,
            self._state_ttl,
            self._state_ttl,
            self._settings.roster if attempt.roster else 0,
            self._settings.roster_bytes,
            self._history,
            *attempt.seen,
            infos.pack(attempt.info),
            self._registration.deadline,
            attempt.stamp,
            int(attempt.insists),
            attempt.derived or attempt.fresh or _NONE,
            self._client.era,
            wait,
            # As text: a client may send any number.
            *map(str, attempt.since),
        )

    async def announce(self, entries: Sequence[PresenceEntry]) -> Sequence[PresenceEntry]:
        """Register all rooms, and call announce.lua for each entry.

        All calls are sent before this waits for the first reply: a member that leaves from now on leaves after its
        announcement. A room in which the script fails does not keep the other rooms from theirs.
        """
        # Redis may have lost the set of rooms together with the entries.
        self._registration.forget()
        rooms, lease = list({entry.room for entry in entries}), str(self._lease)
        if rooms:
            self._registration.register(rooms)
        replies = await asyncio.gather(*[self._announce(entry) for entry in entries], return_exceptions=True)
        self._registration.note(lease, rooms)
        newer: list[PresenceEntry] = []
        failed: list[PresenceEntry] = []
        for entry, reply in zip(entries, replies, strict=True):
            if isinstance(reply, ScriptFailed):
                failed.append(entry)
            elif isinstance(reply, BaseException):
                raise reply
            elif reply == _TOO_LATE:
                raise Unavailable(_LATE)
            elif reply == _NOT_WRITTEN:
                newer.append(entry)
        if failed:
            log.error("%d members could not be announced, and may be missing in rosters (the first: %s in room %s)",
                      len(failed), failed[0].peer, failed[0].room)  # fmt: skip
        return newer

    async def change(self, entry: PresenceEntry) -> bool:
        """Call change.lua."""
        reply = await self._client.run(
            CHANGE,
            self._keys.of_room(entry.room),
            self._keys.channel(entry.room),
            entry.peer,
            str(self._lease),
            entry.generation,
            infos.pack(entry.info),
            self._state_ttl,
            self._history,
            *entry.seen,
            self._client.clock.deadline,
        )
        if reply == _TOO_LATE:
            raise Unavailable(_LATE)
        return bool(reply == _WRITTEN)

    def leave(self, entry: PresenceEntry, *, hold: float = 0) -> asyncio.Future[bool]:
        """Call leave.lua."""
        keys: tuple[str, ...] = self._keys.of_room(entry.room)
        left = self._client.run(
            LEAVE,
            (*keys, self._keys.positions(entry.room)) if entry.tracked else keys,
            self._keys.channel(entry.room),
            entry.peer,
            " ".join(self._lease.own),
            entry.generation,
            entry.current or _NONE,
            milliseconds(hold),
            self._state_ttl,
            self._history,
            *entry.seen,
            entry.stamp,
            self._client.era,
            milliseconds(_CONFIRMATION),
            int(entry.connected),
        )
        # A worker that has seen events of the room is never told to wait.
        return left if entry.seen != BEFORE_ALL else asyncio.ensure_future(_unless_unconfirmed(left))

    async def roster(self, room: str, limit: int | None = None) -> Roster:
        """Call roster.lua; of a large room, any members are named."""
        limit = self._settings.roster if limit is None else limit
        message_id, listed = await self._client.run(
            ROSTER, self._keys.of_room(room), limit, self._settings.roster_bytes
        )
        return _roster(listed, read_id(message_id) if message_id else BEFORE_ALL)

    def _joined(self, attempt: JoinAttempt, reply: Sequence[Any]) -> JoinResult:
        """Read the result of join.lua."""
        room, peer = attempt.room, attempt.peer
        match reply:
            case [b"late"]:
                raise Unavailable(_LATE)
            case [b"taken", held]:
                raise taken(room, peer, held=bool(held))
            case [b"superseded"]:
                raise Refused("superseded", peer=peer, room=room)
            case [b"contested", newer]:
                raise Contested(room, peer, newer=bool(newer))
            case [b"full"] if attempt.resume_only:
                raise Refused("not_joined", room=room)
            case [b"full"]:
                raise Refused("room_full", f"{room} has {self._settings.members} members", room=room)
        status, generation, message_id, listed, began, first, info = reply
        current = read_id(message_id)
        return JoinResult(
            generation=int(generation),
            id=current,
            resumed=status == b"resumed",
            roster=_roster(listed, current) if attempt.roster else None,
            # Most members begin with this join: then one object serves for both, for as long as they are connected.
            began=current if began == message_id else read_id(began),
            first=bool(first),
            info=infos.unpack(info),
            previous=join_previous(attempt.offered, attempt.stamp, first=bool(first)),
        )

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
            self._state_ttl,
            self._state_ttl,
            self._history,
            *entry.seen,
            str(entry.began),
            infos.pack(entry.info),
            self._registration.deadline,
            milliseconds(entry.hold),
            0 if entry.hold else self._client.era,
        )


async def _unless_unconfirmed(left: asyncio.Future[int]) -> bool:
    """Return the result of leave.lua; raise `Unavailable` if it left an unconfirmed state alone, to be called again."""
    result = await left
    if result == _UNCONFIRMED:
        raise Unavailable("Redis has come back, and no worker has confirmed the room's state yet")
    return bool(result)


def _roster(listed: Sequence[Any], current: MessageId) -> Roster:
    count, flat = listed
    members = [
        Present(peer.decode(), held != b"0", infos.unpack(info))
        for peer, held, info in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    ]
    return Roster(count, sorted(members, key=lambda member: member.peer), current)
