"""The registration of a worker in Redis: its lease, and the rooms with members under it."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from relay.backend.headroom import Level
from relay.backend.presence import LeaseName
from relay.backend.redis.clock import RedisClock
from relay.backend.redis.connection import Argument, pack
from relay.backend.redis.keys import Keys
from relay.backend.redis.place import Redis, RedisPlace, ignore
from relay.backend.redis.scripts import REGISTER, milliseconds
from relay.backend.settings import BackendSettings

LOST = 0.25
"""The fraction of a millisecond that marks the deadline of a lease that Redis had lost; see heartbeat.lua."""

_LIMITED_FOR: Final = 1000
"""Milliseconds in which registrations do not give the set of rooms and its index their time to live again."""

RETIRED = 0.5
"""The fraction that marks the deadline of a lease whose worker has stopped."""


def scored(rooms: Iterable[str]) -> list[Argument]:
    """Return the arguments that add these rooms to an index, in which all have the score 0."""
    return [argument for room in rooms for argument in (0, room)]


class RoomRegistrar(Protocol):
    """Registers rooms ahead of the scripts that may write presence entries there."""

    async def prepare(self, room: str) -> None:
        """Register a room whose registration is not on the same Redis as the room; raises `Unavailable`."""
        ...

    def register(self, rooms: Sequence[str]) -> None:
        """Register the lease and these rooms; the script that may write entries must follow in the same turn."""
        ...

    def deadline_of(self, room: str) -> int:
        """Until when a script may write an entry of a room, by the clock of its Redis (ms); 0 if that is not known."""
        ...

    def note(self, lease: str, rooms: Iterable[str]) -> None:
        """Note that Redis has registered these rooms under a lease."""
        ...

    def forget(self, rooms: Iterable[str] | None = None) -> None:
        """Note that Redis does not have these rooms any more, or perhaps none at all."""
        ...


class Registration:
    """Registers this worker's lease and rooms, ahead of each script that may write a presence entry.

    Workers find the members of a dead worker by its lease and by the set of its rooms. Redis may have lost both since
    the last heartbeat, and an entry that no worker finds would stay for ever. So each such script follows commands that
    add the missing parts; the commands of one connection are executed in order. A missing lease is added as lost:
    the next heartbeat begins another one, and other workers take over the members that are left under it.
    """

    def __init__(self, client: Redis, keys: Keys, lease: LeaseName, settings: BackendSettings) -> None:
        self._client = client
        self._keys = keys
        self._lease = lease
        self._duration = milliseconds(settings.lease.duration)
        self._state_ttl = milliseconds(settings.rooms.state_ttl)
        # Rooms that Redis is known to have in the set, and the lease under which it has them.
        self._rooms: set[str] = set()
        self._rooms_of = ""
        self._deadline = 0
        # When both got their time to live with a registration.
        self._limited_at = 0
        # The packed command that registers the lease, made once for each deadline; and whether this turn of the event
        # loop has sent it.
        self._command = b""
        self._sent = False
        self.written = 0
        """The deadline (ms) that the last heartbeat wrote; 0 for a lease that begins."""

    def renewed(self, deadline: int) -> None:
        """Note that a heartbeat has set the lease's deadline (ms)."""
        self._deadline = self.written = deadline
        self._command = b""

    def begin_anew(self) -> None:
        """Begin another lease, whose name was given just now; the next heartbeat writes it."""
        self._rooms.clear()
        self._command = b""
        self._deadline, self.written = self._clock.now + self._duration, 0

    async def prepare(self, room: str) -> None:
        """Do nothing: `register` comes ahead of the script on the same connection."""

    def deadline_of(self, room: str) -> int:
        """Until when a script may write an entry of a room, by the clock of its Redis (ms); 0 if that is not known.

        A lease is taken over only after its deadline. The worker that takes it over would not find an entry that is
        written under it later.
        """
        clock = self._client.at_room(room).clock
        if not self._deadline:
            return clock.deadline
        return min(clock.deadline, self._deadline + clock.ahead_of(self._clock))

    @property
    def _place(self) -> RedisPlace:
        return self._client.at_key(self._keys.workers)

    @property
    def _clock(self) -> RedisClock:
        return self._place.clock

    @property
    def rooms(self) -> int:
        """In how many rooms Redis is known to have registered this worker."""
        return len(self._rooms) if self._rooms_of == str(self._lease) else 0

    def names(self) -> list[str]:
        """Return those rooms."""
        return sorted(self._rooms) if self.rooms else []

    def register_lease(self) -> None:
        """Register the lease, unless Redis has it. The reply is ignored: if this fails, the script fails as well.

        It is sent once in a turn of the event loop: all scripts of the turn follow it.
        """
        if self._sent and self._command and self._place.reachable:
            return
        if not self._sent:
            self._sent = True
            asyncio.get_running_loop().call_soon(self._end_turn)
        if not self._command or not self._deadline:
            deadline = self._deadline or self._clock.now + self._duration
            self._command = pack("ZADD", self._keys.workers, "NX", deadline + LOST, str(self._lease))
        self._place.send(self._command, ignore)

    def _end_turn(self) -> None:
        self._sent = False

    def register(self, rooms: Sequence[str]) -> None:
        """Register the lease and these rooms; the script that may write entries must follow in the same turn."""
        if self._place.headroom.level is Level.FULL:
            self._register_at_any_rate(rooms)
            return
        self.register_lease()
        own = self._keys.worker_rooms(str(self._lease))
        known = all(map(self.has, rooms))
        if not known:
            # Into the index first, as it is not read while it has fewer rooms than the set.
            index = self._keys.worker_index(str(self._lease))
            self._client.tell("ZADD", index, *scored(rooms))
            self._client.tell("SADD", own, *rooms)
            if self._may_be_new():
                self._client.tell("PEXPIRE", index, self._state_ttl)
                self._client.tell("PEXPIRE", own, self._state_ttl)
        else:
            self._client.tell("SADD", own, *rooms)

    def _may_be_new(self) -> bool:
        """Whether the set of rooms and its index may be keys without a time to live.

        They are, if Redis has lost them just now. So many rooms may be registered in a second that this is not assumed
        of each one; upkeep renews both as well.
        """
        now = self._clock.now
        if self.rooms and self._limited_at <= now < self._limited_at + _LIMITED_FOR:
            return False
        self._limited_at = now
        return True

    def _register_at_any_rate(self, rooms: Sequence[str]) -> None:
        """As `register`, by a script: it works although Redis's memory is used up."""
        deadline = self._deadline or self._clock.now + self._duration
        lease = str(self._lease)
        keys = self._keys.workers, self._keys.worker_rooms(lease), self._keys.worker_index(lease)
        arguments: list[str | float] = [deadline + LOST, lease, self._state_ttl, *rooms]
        self._client.send_script(REGISTER, keys, arguments, ignore)

    def has(self, room: str) -> bool:
        """Tell whether Redis is known to have registered this room under the present lease."""
        return self._rooms_of == str(self._lease) and room in self._rooms

    def note(self, lease: str, rooms: Iterable[str]) -> None:
        """Note that Redis has registered these rooms under a lease."""
        if lease == str(self._lease):
            if lease != self._rooms_of:
                self._rooms_of, self._rooms = lease, set()
            self._rooms.update(rooms)

    def forget(self, rooms: Iterable[str] | None = None) -> None:
        """Note that Redis does not have these rooms any more, or perhaps none at all."""
        self._rooms.difference_update(self._rooms.copy() if rooms is None else rooms)
