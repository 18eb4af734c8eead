"""Leases in Redis: a sorted set of all leases, and for each lease a set of the rooms with members under it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any

from relay.backend.presence import ADOPTION_BATCH, HeldMember, LeaseEnd, LeaseName, LeaseStatus, Touched
from relay.backend.redis.addresses import RedisAddresses
from relay.backend.redis.keys import Keys
from relay.backend.redis.memory import RedisMemory
from relay.backend.redis.outboxes import RedisOutboxes
from relay.backend.redis.place import Redis
from relay.backend.redis.registration import LOST, RETIRED, Registration, scored
from relay.backend.redis.replies import ScriptFailed
from relay.backend.redis.room_list import read_set
from relay.backend.redis.scripts import ADOPT, HEARTBEAT, milliseconds
from relay.backend.settings import BackendSettings
from relay.model.errors import RelayError, Unavailable

log = logging.getLogger("relay.backend.redis")

_AFTER_ALL = 2**52
"""A deadline (ms) after all others: the lease ends."""

_MOST_LEASES = 1000
"""Leases that a worker knows, to register them again when Redis has lost them."""

_PAGE = 40
"""Members of one page of a room that is adopted."""

_LEFT = 500
"""Rooms that one command takes out of the set of the worker's rooms."""

_NO_LEASE = "Redis cannot renew this worker's lease"
_LAPSED = "this worker's own lease lapsed while it took members over"


_ENDS: Mapping[int, LeaseEnd] = {0: "", 1: "lapsed", 2: "lost", 3: "older"}
"""Results of heartbeat.lua."""

_RENEWALS = 8
"""How often the set of rooms and its index are renewed in their time to live."""


class RedisLeases:
    """Leases in one sorted set, by deadline.

    `look_after` is called with each heartbeat, for questions to Redis that do not depend on the lease.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        lease: LeaseName,
        settings: BackendSettings,
        registration: Registration,
        addresses: RedisAddresses | None = None,
        outboxes: RedisOutboxes | None = None,
        *,
        look_after: Callable[[], None] | None = None,
    ) -> None:
        self._client = client
        self._keys = keys
        self._lease = lease
        self._settings = settings.lease
        self._addresses = addresses
        self._outboxes = outboxes
        self._state_ttl = milliseconds(settings.rooms.state_ttl)
        self._registration = registration
        self._place = client.at_key(keys.workers)
        self._memory = RedisMemory(self._place, keys.workers)
        self._look_after = look_after or self._ask
        self._ended: LeaseEnd = ""
        # The findings of the last call of heartbeat.lua: dead leases, with their deadlines.
        self._dead: Sequence[bytes] = ()
        # The leases of all workers, as they were read last, and when they are to be read again.
        self._all: Sequence[bytes] = ()
        # The changes of the run of Redis before the last heartbeat.
        self._run_changes = 0
        self._read_at = 0.0
        self.deadlines: dict[str, float] = {}
        """The dead leases, by the last heartbeat, with their deadlines."""
        self._adopting: Collection[str] = ()
        # Rooms that are registered, and in which a takeover has found no members, or which it has kept registered after
        # the last own member had left: nobody leaves them unless `touch` tells of them.
        self._vacant: dict[str, None] = {}
        # Rooms that had keys that few rooms have, when they were renewed last.
        self._rich: set[str] = set()
        # When the set of rooms and its index were renewed, by the clock of Redis (ms).
        self._limited_at = 0
        # By dead lease: its deadline, and rooms whose adoption failed. Their members may be held under this worker's
        # lease without its knowledge, and another survivor may have forgotten the dead lease by the next heartbeat.
        self._unconfirmed: dict[str, tuple[float, set[str]]] = {}

    async def beat(self) -> LeaseStatus:
        """Call heartbeat.lua; twice if the lease has ended, to begin another one.

        A lease whose adoption failed counts as dead until it is forgotten here, also if another survivor forgot it.
        """
        ended = await self.renew()
        if ended:
            self._lease.renew()
            await self.begin_anew(ended)
        return await self.status()

    async def renew(self) -> LeaseEnd:
        """Call heartbeat.lua, and return why the lease has ended; "" if it was renewed."""
        rooms_lost, (ended, self._dead) = await asyncio.gather(self._rooms_are_lost(), self._beat())
        if rooms_lost and not ended:
            ended = "lost"
            await self.leave_behind()
        if ended == "lost" and not rooms_lost:
            await self._restore()
        return ended

    async def leave_behind(self) -> None:
        """Have other workers take over the members that are left under the lease, although it was renewed just now."""
        left = self._registration.written - 2 * milliseconds(self._settings.interval)
        await self._client.call("ZADD", self._keys.workers, left + LOST, str(self._lease))

    async def begin_anew(self, ended: LeaseEnd) -> None:
        """Call heartbeat.lua for the lease that follows one that has ended, whose name was given just now."""
        self._registration.begin_anew()
        # The workers that take the old lease over find all members that are held under it.
        self._unconfirmed.clear()
        # They are registered under the old lease alone.
        self._vacant.clear()
        # Remembered, in case the reply is lost: the next heartbeat must still report the end.
        self._ended = ended
        _, self._dead = await self._beat()

    async def status(self) -> LeaseStatus:
        """Return the findings of the last call of heartbeat.lua."""
        await self._read()
        flat = self._dead
        self.deadlines = {name: deadline for name, (deadline, _) in self._unconfirmed.items()}
        self.deadlines |= {name.decode(): float(score) for name, score in zip(flat[::2], flat[1::2], strict=True)}
        ended, self._ended = self._ended, ""
        retired = {name for name, deadline in self.deadlines.items() if deadline % 1 == RETIRED}
        lost = {name for name, deadline in self.deadlines.items() if deadline % 1 == LOST}
        return LeaseStatus(ended, list(self.deadlines), retired, lost)

    async def has_died(self, lease: str, within: float) -> bool:
        """Tell whether a lease that another group has found dead is dead here, or will be within some seconds."""
        if lease in self.deadlines:
            return True
        end = await self._client.call("ZSCORE", self._keys.workers, lease)
        left = None if end is None else (float(end) - self._place.clock.now) / 1000
        if end is None or left is None or left > within:
            return False
        self.deadlines[lease] = float(end)
        await asyncio.sleep(max(0.0, left))
        return True

    async def adopt(self, lease: str) -> AsyncIterator[Sequence[HeldMember]]:
        """Call adopt.lua for a batch of rooms at the same time, and page by page.

        A room in which the script fails is left out: no worker can read its members, and the other rooms must not
        wait for it. Raises `Unavailable` when this worker's own lease lapses meanwhile: the rooms are registered under
        it, and members under another one would not be found there.
        """
        deadline, own = self.deadlines.get(lease), str(self._lease)
        if deadline is None:
            return
        # The dead worker renewed its lease at `deadline - duration`, and lived for less than an interval after that.
        settings = self._settings
        held_until = int(deadline) + milliseconds(settings.interval + settings.grace - settings.duration)
        # While Redis was away, no member could return. The era begins when the first worker reaches it again.
        held_until = max(held_until, self._place.era // 1000 + milliseconds(settings.grace))
        registered = await read_set(self._client, self._keys.worker_rooms(lease))
        _, unconfirmed = self._unconfirmed.get(lease, (deadline, set[str]()))
        rooms = sorted(unconfirmed.union(registered))
        if not rooms and not deadline % 1:
            # Redis may have lost the set, and the dead worker may have had members. So each survivor looks for them in
            # its own rooms, after a pause in which all survivors learn of the dead lease.
            await asyncio.sleep(2 * settings.interval)
            rooms = self._registration.names()
        for start in range(0, len(rooms), ADOPTION_BATCH):
            batch = rooms[start : start + ADOPTION_BATCH]
            # Upkeep runs at the same time. It must not unregister a room whose members are on their way to this worker.
            self._adopting = frozenset(batch)
            vacant = dict.fromkeys(batch)
            try:
                # Registered first, so that another survivor finds the rooms if this worker dies in between.
                await asyncio.gather(
                    self._client.call("ZADD", self._keys.worker_index(own), *scored(batch)),
                    self._client.call("SADD", self._keys.worker_rooms(own), *batch),
                )
                self._registration.note(own, batch)
                cursors = dict.fromkeys(batch, b"0")
                while cursors:
                    if str(self._lease) != own:
                        raise Unavailable(_LAPSED)
                    self._registration.register_lease()
                    # One page of each room, however large some are: the caller may have to stop in between.
                    pages = await asyncio.gather(
                        *[self._adopt(room, cursor, lease, own, held_until) for room, cursor in cursors.items()]
                    )
                    cursors = {room: cursor for room, (cursor, _) in zip(cursors, pages, strict=True) if cursor != b"0"}
                    members = [member for _, members in pages for member in members]
                    for member in members:
                        vacant.pop(member.room, None)
                    yield members
                if self._outboxes is not None:
                    # The dead worker may not have moved its last events. From now on it writes no others.
                    self._outboxes.take_over(batch)
            except RelayError:
                self._unconfirmed[lease] = deadline, unconfirmed.union(batch)
                # They may have members all the same, and stay registered until the takeover is repeated.
                vacant.clear()
                raise
            finally:
                self._adopting = ()
                self._vacant.update(vacant)

    async def forget(self, lease: str) -> None:
        """Delete the lease and the set of its rooms, unless the last heartbeat did not report it as dead.

        `adopt` found nothing then: another survivor forgot the lease, or so many are dead that this one is not among
        the first of them any more. Its rooms would be forgotten with their members in them.
        """
        if lease not in self.deadlines:
            return
        await asyncio.gather(
            self._client.call("UNLINK", self._keys.worker_rooms(lease), self._keys.worker_index(lease)),
            self._client.call("ZREM", self._keys.workers, lease),
        )
        self._unconfirmed.pop(lease, None)

    async def retire(self) -> None:
        """Set the lease's deadline to the past, and withdraw the worker's address."""
        if self._addresses is not None:
            self._addresses.withdraw()
        # By Redis's clock, as all deadlines are.
        seconds, _ = await self._place.call("TIME")
        # Half a millisecond marks a retired lease for `beat`: the deadline of a lease that runs out is a whole number.
        await self._client.call("ZADD", self._keys.workers, int(seconds) * 1000 - RETIRED, str(self._lease))

    def touch(self, rooms: Mapping[str, str], left: Sequence[str] = ()) -> Coroutine[Any, Any, Touched]:
        """Send all commands at once, and wait for their replies; rooms that `adopt` works on stay registered.

        They are sent when this returns: a member that joins a room of `left` from now on registers it after them. Few
        rooms have all kinds of keys. So one command asks for those kinds, and a room that has one is renewed again.
        """
        self._vacant.update(dict.fromkeys(room for room in left if room in self._adopting))
        left = [room for room in left if room not in self._adopting]
        own, index = self._keys.worker_rooms(str(self._lease)), self._keys.worker_index(str(self._lease))
        lasting = (own, index) if rooms and self._may_expire() else ()
        calls = [self._client.call("PEXPIRE", key, self._state_ttl) for key in lasting]
        if left:
            self._registration.forget(left)
            self._rich.difference_update(left)
            for at in range(0, len(left), _LEFT):
                gone = left[at : at + _LEFT]
                # From the index last, as it is not read while it has fewer rooms than the set.
                calls += [self._client.call("SREM", own, *gone), self._client.call("ZREM", index, *gone)]
        members: list[asyncio.Future[Any]] = []
        asked: dict[str, list[asyncio.Future[Any]]] = {}
        keys, call = self._keys, self._client.call
        for room, peer in rooms.items():
            meta, presence, _, _, options, quiet = keys.of_room(room)
            calls += [call("PEXPIRE", key, self._state_ttl) for key in (presence, meta, quiet, keys.places(room))]
            if peer:
                members.append(call("HEXISTS", presence, peer))
            few = (options, keys.watched(room), keys.large(room), keys.subjects(room))
            if room in self._rich:
                asked[room] = [call("PEXPIRE", key, self._state_ttl) for key in few]
            else:
                asked[room] = [call("EXISTS", *few)]
        return self._touched(calls, [room for room, peer in rooms.items() if peer], members, asked)

    @property
    def has_vacant(self) -> bool:
        """Whether `touch` has vacant rooms to tell of."""
        return bool(self._vacant)

    def _may_expire(self) -> bool:
        """Whether to renew the set of rooms and its index: often enough for several failures in their time to live."""
        now = self._place.clock.now
        if self._limited_at <= now < self._limited_at + self._state_ttl // _RENEWALS:
            return False
        self._limited_at = now
        return True

    async def _touched(
        self,
        calls: Sequence[asyncio.Future[Any]],
        rooms: Sequence[str],
        members: Sequence[asyncio.Future[Any]],
        asked: Mapping[str, Sequence[asyncio.Future[Any]]],
    ) -> Touched:
        """Wait for all replies, and note which rooms have keys that few rooms have."""
        # A key of another type is no sign of a loss, and the other rooms must be renewed all the same.
        found = asyncio.gather(*members, return_exceptions=True)
        await asyncio.gather(*calls, *(future for futures in asked.values() for future in futures))
        rich = {room for room, futures in asked.items() if any(future.result() for future in futures)}
        again = rich - self._rich
        self._rich -= asked.keys() - rich
        self._rich |= again
        lost = [room for room, one in zip(rooms, await found, strict=True) if one == 0]
        vacant = [room for room in self._vacant if room not in self._adopting]
        for room in vacant:
            del self._vacant[room]
        return Touched(lost, sorted(again), vacant)

    async def _adopt(
        self, room: str, cursor: bytes, lease: str, own: str, held_until: int
    ) -> tuple[bytes, list[HeldMember]]:
        """Adopt one page of a room; returns the cursor of the next one, `0` after the last."""
        # By the clock of the Redis that has the room.
        ends = held_until + self._client.at_room(room).clock.ahead_of(self._place.clock)
        deadline = self._registration.deadline_of(room)
        try:
            reply = await self._client.run(ADOPT, self._keys.of_room(room), lease, own, ends, cursor, _PAGE, deadline)
        except ScriptFailed:
            log.error("room %s: the members of dead worker %s could not be taken over; delete the room's keys",
                      room, lease)  # fmt: skip
            return b"0", []
        if not reply:
            raise Unavailable(_LAPSED)
        cursor, page = reply
        return cursor, [
            HeldMember(room, peer.decode(), int(generation), int(ms) / 1000) for peer, generation, ms in page
        ]

    async def _rooms_are_lost(self) -> bool:
        """Tell whether Redis has lost the set of this worker's rooms, or a part of it."""
        known = self._registration.rooms
        if not known:
            return False
        try:
            return bool(await self._client.call("SCARD", self._keys.worker_rooms(str(self._lease))) < known)
        except Unavailable:
            # Of another type; or Redis is away, and the heartbeat fails as well.
            return True

    async def _read(self) -> None:
        """Read the leases of all workers from time to time, in case Redis loses them."""
        if self._place.clock.time >= self._read_at:
            self._all = await self._client.call("ZRANGE", self._keys.workers, 0, _MOST_LEASES - 1)
            self._read_at = self._place.clock.time + self._settings.duration / 2

    async def _restore(self) -> None:
        """Register the leases that Redis has lost, as lost: one of them may be of a worker that has died since.

        The others begin another lease with their next heartbeats, as this worker does.
        """
        if self._all:
            deadline = self._place.clock.now + milliseconds(self._settings.duration) + LOST
            flat = [argument for name in self._all for argument in (deadline, name)]
            await self._client.call("ZADD", self._keys.workers, "NX", *flat)

    def _ask(self) -> None:
        """Ask Redis for its time, its run and its memory."""
        self._place.bound_clock()
        self._place.check_run()
        self._memory.ask()

    async def _beat(self) -> tuple[LeaseEnd, Sequence[bytes]]:
        duration, settings = milliseconds(self._settings.duration), self._settings
        ttl = max(self._state_ttl, 2 * duration)
        asked, changes, written = self._place.clock.time, self._place.run_changes, self._registration.written
        if written and changes != self._run_changes:
            # Another run of Redis may lack the last writes, also those after the last heartbeat.
            written = _AFTER_ALL
        try:
            ended, flat, now, used_up = await self._client.run(
                HEARTBEAT,
                (self._keys.workers,),
                str(self._lease),
                duration,
                ttl,
                written,
                # As long as the lease of a worker that died with the last heartbeat but one.
                milliseconds(settings.duration - 2 * settings.interval),
            )
        except ScriptFailed as error:
            # A worker without a lease is of no use, so this counts as a refusal; renewing again does no harm.
            raise Unavailable(_NO_LEASE).because(f"{_NO_LEASE}: {error.report or 'the log has its text'}") from None
        # The scripts that join and announce compare deadlines with Redis's clock; see `RedisClock`.
        self._place.clock.learn(now, asked)
        self._place.headroom.report_refusal(refuses=bool(used_up))
        self._look_after()
        self._run_changes = changes
        if not ended:
            self._registration.renewed(now + duration)
            if self._addresses is not None:
                self._addresses.announce(duration)
        return _ENDS[ended], flat
