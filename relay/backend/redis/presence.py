"""Presence in Redis: a hash per room."""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from msgspec import structs

from relay.backend.headroom import Level
from relay.backend.presence import (
    Contested,
    JoinAttempt,
    JoinResult,
    LeaseName,
    PresenceEntry,
    TooLate,
    taken,
    too_many_places,
)
from relay.backend.redis import infos
from relay.backend.redis.connection import Argument
from relay.backend.redis.join_calls import CONFIRMATION, NOT_SENT, JoinCalls
from relay.backend.redis.keys import Keys
from relay.backend.redis.outboxes import RedisOutboxes
from relay.backend.redis.place import Redis
from relay.backend.redis.registration import RoomRegistrar
from relay.backend.redis.replies import ScriptFailed
from relay.backend.redis.scripts import ANNOUNCE, CHANGE, LEAVE, ROSTER, milliseconds
from relay.backend.redis.tags import TagOf
from relay.backend.rules import PasswordNeeded, RulesLost, read_rules
from relay.backend.settings import RoomSettings
from relay.backend.stamps import join_previous, split_previous
from relay.model.envelope import BEFORE_ALL, MessageId, read_id
from relay.model.errors import ClientGone, Refused, RelayError, Unavailable
from relay.model.events import Present, Roster

log = logging.getLogger("relay.backend.redis")

_NONE = "-"
"""The argument of a script that stands for no fingerprint."""

_NOT_WRITTEN, _WRITTEN, _TOO_LATE = 0, 1, 2
"""Results of announce.lua and change.lua."""

_UNCONFIRMED, _BEHIND = 2, 3
"""Results of leave.lua, besides 1 and 0."""

_CONFIRMATION_STEP = 0.1
"""Seconds between two calls of a join that waits until its room is confirmed."""

_AGAIN = (NOT_SENT, [b"unconfirmed"], [b"unknown"], [b"late"])
"""Replies to a join that has done nothing, after which it is made again in a moment.

`late` is one of them: this worker has stood still, so that its lease is over, or it takes the time of Redis's clock for
another one. The next heartbeat mends either.
"""

_WAITS = (milliseconds(CONFIRMATION),) * round(CONFIRMATION / _CONFIRMATION_STEP) + (0,)
"""For each call of a join, the time since Redis came back in which join.lua leaves an unconfirmed state alone (ms).

Redis's clock may jump, so the number of calls bounds the wait as well.
"""

_RESULTS = 11
"""Parts of the result of join.lua for a membership; a refusal has fewer."""

_REFUSALS = {
    b"locked": "room_locked",
    b"banned": "banned",
    b"closing": "no_such_room",
    b"absent": "no_such_room",
    b"occupied": "room_exists",
}
"""Results of join.lua for joins that the rules of the room do not allow, and their error codes."""

_LATE = "the request reached Redis after its time was over, and did nothing; the clock of Redis may have jumped"


class RedisPresence:
    """Presence in Redis: each method calls one script, whose comments say what it does."""

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        lease: LeaseName,
        settings: RoomSettings,
        registration: RoomRegistrar,
        tag_of: TagOf,
        outboxes: RedisOutboxes | None = None,
    ) -> None:
        self._client = client
        self._keys = keys
        self._lease = lease
        self._settings = settings
        self._state_ttl = milliseconds(settings.state_ttl)
        self._idle_ttl = milliseconds(settings.idle_ttl)
        # In the form in which the scripts take it; see shared.lua.
        self._history = f"{settings.history.size} {milliseconds(settings.history.ttl)}"
        self._last_history = f"{settings.history.size} {milliseconds(settings.history.last_ttl)}"
        self._registration = registration
        self._tag_of = tag_of
        self._outboxes = outboxes or RedisOutboxes(keys, registration, None, ttl=self._state_ttl)
        self._joins = JoinCalls(client, keys, lease, settings, registration, tag_of, self._outboxes)

    async def join(self, attempt: JoinAttempt) -> JoinResult:
        """Register the room under this worker's lease, and call join.lua."""
        place = self._client.at_room(attempt.room)
        reply: Any = None
        # Called again while a worker that knows the room may still confirm its state, and until the next heartbeat.
        for wait in _WAITS:
            if reply is not None:
                await asyncio.sleep(_CONFIRMATION_STEP)
                if attempt.is_lost():
                    raise ClientGone()
                if wait and self._lease_is_over(attempt.room):
                    # It would be late again. When a part of a cluster is away, many joins wait for its heartbeat.
                    continue
            while not place.reachable:
                # A command that waits for a connection is written before the run of Redis is known. This one could make
                # a member where the next run does not have the rules yet.
                await place.call("EXISTS", self._keys.of_room(attempt.room)[0])
            await self._registration.prepare(attempt.room)
            call = self._joins.add(attempt, wait)
            reply = await call.reply
            if reply not in _AGAIN:
                break
        # Noted only after the reply: without one, the registration may be lost as well.
        self._registration.note(call.lease, [attempt.room])
        return self._joined(attempt, reply)

    def _lease_is_over(self, room: str) -> bool:
        """Return whether no script writes an entry of a room under this worker's lease now, as far as is known."""
        deadline = self._registration.deadline_of(room)
        return 0 < deadline < self._client.at_room(room).clock.now

    def _keys_of_entry(self, room: str, subject: str) -> tuple[str, ...]:
        """Return the keys of announce.lua."""
        keys = self._keys
        return (*keys.of_room(room), keys.places(room), *((keys.subjects(room),) if subject else ()))

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
                raise TooLate(_LATE)
            elif reply == _NOT_WRITTEN:
                newer.append(entry)
        if failed:
            log.error("%d members could not be announced, and may be missing in rosters (the first: %s in room %s)",
                      len(failed), failed[0].peer, failed[0].room)  # fmt: skip
        return newer

    async def change(self, entry: PresenceEntry) -> bool:
        """Call change.lua, and again until the next heartbeat if it comes too late: see `_AGAIN`."""
        for _ in _WAITS:
            reply = await self._change(entry)
            if reply != _TOO_LATE:
                return bool(reply == _WRITTEN)
            await asyncio.sleep(_CONFIRMATION_STEP)
        raise Unavailable(_LATE)

    def _change(self, entry: PresenceEntry) -> asyncio.Future[Any]:
        return self._client.run(
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
            self._client.at_room(entry.room).clock.deadline,
        )

    def leave(self, entry: PresenceEntry, *, hold: float = 0) -> asyncio.Future[bool]:
        """Call leave.lua."""
        # Of a member that has joined in this turn already, over another connection, only the earlier membership leaves.
        self._joins.send()
        room = entry.room
        keys: tuple[str, ...] = (
            *self._keys.of_room(room),
            self._keys.places(room),
            self._keys.large(room),
            self._keys.watched(room),
        )
        if entry.tracked:
            # A member of a dead worker may have more data, of which this worker does not know.
            keys = (*keys, self._keys.positions(room), self._keys.subjects(room))
        elif entry.subject:
            keys = (*keys, self._keys.subjects(room))
        extended, hook = self._outboxes.extend(room, keys, entry.reason)
        arguments: list[Argument] = [
            self._keys.channel(room),
            entry.peer,
            " ".join(self._lease.own),
            entry.generation,
            entry.current or _NONE,
            milliseconds(hold),
            self._state_ttl,
            self._history,
            *entry.seen,
            entry.stamp,
            self._client.at_room(room).era,
            milliseconds(CONFIRMATION),
            int(entry.connected),
            self._idle_ttl,
            self._last_history,
            milliseconds(self._settings.rules_ttl),
            hook,
            split_previous(entry.previous)[1],
            str(entry.began),
        ]
        left: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._outboxes.watch(room, left, lambda found: hold == 0 or not found)
        # By a callback and not in a task, which costs a further turn of the event loop: thousands may leave at once.
        self._client.send_script(LEAVE, extended, arguments, partial(self._left, left, entry, hold))
        return left

    def _left(self, left: asyncio.Future[bool], entry: PresenceEntry, hold: float, reply: Any) -> None:
        """Resolve `left` by the result of leave.lua; a held member of which Redis has an earlier entry is announced.

        It fails with `Unavailable` if leave.lua has to be called again.
        """
        if left.done():
            return
        if reply == _BEHIND:
            self._registration.register([entry.room])
            announced = self._announce(structs.replace(entry, hold=hold))
            announced.add_done_callback(partial(_announced, left))
        elif reply == _UNCONFIRMED:
            left.set_exception(Unavailable("Redis has come back, and no worker has confirmed the room's state yet"))
        elif isinstance(reply, int):
            left.set_result(bool(reply))
        else:
            left.set_exception(self._client.script_error(reply))

    async def roster(self, room: str, limit: int | None = None) -> Roster:
        """Call roster.lua; of a large room, any members are named."""
        limit = self._settings.roster if limit is None else limit
        message_id, listed = await self._client.run(
            ROSTER, self._keys.of_room(room), limit, self._settings.roster_bytes
        )
        return _roster(listed, read_id(message_id) if message_id else BEFORE_ALL)

    def _joined(self, attempt: JoinAttempt, reply: Sequence[Any]) -> JoinResult:
        """Read the result of join.lua."""
        if len(reply) < _RESULTS:
            raise self._refusal(attempt, reply)
        status, generation, message_id, listed, began, first, info, created, rules, waits, watched = reply
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
            created=bool(created),
            rules=read_rules(rules.decode()) if rules else None,
            has_waiting=bool(waits),
            watched=bool(watched),
        )

    def _refusal(self, attempt: JoinAttempt, reply: Sequence[Any]) -> RelayError:  # noqa: C901 - one line for each
        """Return the error for a result of join.lua that is no membership."""
        room, peer = attempt.room, attempt.peer
        match reply:
            case [b"late"]:
                return Unavailable(_LATE)
            case [b"taken", held]:
                return taken(room, peer, held=bool(held))
            case [b"superseded"]:
                return Refused("superseded", peer=peer, room=room)
            case [b"contested", newer]:
                return Contested(room, peer, newer=bool(newer))
            case [b"full"] if attempt.resume_only:
                return Refused("not_joined", room=room)
            case [b"full"]:
                return Refused("room_full", f"{room} has {self._settings.members} members", room=room)
            case [b"crowded"]:
                return too_many_places(room, self._settings.places)
            case [b"full", most]:
                return Refused("room_full", f"{room} has {most} members", room=room)
            case [b"barred"]:
                full = self._client.headroom.level_of(room) is Level.FULL
                return Refused("memory_low" if full else attempt.barred, room=room)
            case [b"outdated"]:
                return RulesLost()
            case [b"unknown" | b"unconfirmed"]:
                return Unavailable("Redis has lost the rules of this room, and the worker that has them is silent")
            case [b"unsent"]:
                return Unavailable("the connection to Redis was lost before the join could be sent")
            case [b"password", salt]:
                return PasswordNeeded(room, salt.decode(), wrong=bool(attempt.password))
            case [reason] if reason in _REFUSALS:
                return Refused(_REFUSALS[reason], room=room)
            case _:
                return self._client.script_error(reply)

    def _announce(self, entry: PresenceEntry) -> asyncio.Future[int]:
        keys, hook = self._outboxes.extend(entry.room, self._keys_of_entry(entry.room, entry.subject))
        announced = self._client.run(
            ANNOUNCE,
            keys,
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
            self._registration.deadline_of(entry.room),
            milliseconds(entry.hold),
            0 if entry.hold else self._client.at_room(entry.room).era,
            self._tag_of(entry.room, entry.address),
            entry.subject,
            hook,
        )
        self._outboxes.watch(entry.room, announced)
        return announced


def _announced(left: asyncio.Future[bool], announced: asyncio.Future[int]) -> None:
    """Resolve `left` by the result of announce.lua."""
    if left.done():
        return
    if announced.cancelled():
        left.cancel()
    elif (error := announced.exception()) is not None:
        left.set_exception(error)
    elif announced.result() == _TOO_LATE:
        left.set_exception(Unavailable(_LATE))
    else:
        left.set_result(bool(announced.result()))


def _roster(listed: Sequence[Any], current: MessageId) -> Roster:
    count, flat = listed
    members = [
        Present(peer.decode(), held != b"0", infos.unpack(info))
        for peer, held, info in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    ]
    return Roster(count, sorted(members, key=lambda member: member.peer), current)
