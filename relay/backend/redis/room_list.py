"""The list of all rooms in Redis, read from the sorted sets of rooms of all leases.

No command reads more than a page: a fleet may have hundreds of thousands of rooms, and Redis serves nobody else while
it serves a command.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, Protocol

from relay.backend.redis.keys import Keys
from relay.backend.redis.place import Redis
from relay.model.room_list import FIRST_ROOMS, RoomPage, RoomQuery

_BATCH: Final = 500
"""Rooms whose members are counted at the same time."""

_MOST_LEASES: Final = 1000
"""Leases whose rooms are listed."""

_ROUNDS: Final = 8
"""How often a page reads on in place of rooms that have no members any more."""


async def read_set(client: Redis, key: str) -> set[str]:
    """Return the names in a set, which is read page by page: a worker may have tens of thousands of rooms."""
    names, cursor = set[str](), b"0"
    while True:
        cursor, page = await client.call("SSCAN", key, cursor, "COUNT", _BATCH)
        names.update(name.decode() for name in page)
        if cursor == b"0":
            return names


class _Source(Protocol):
    """The names of the rooms of one lease that begin with a prefix."""

    async def count(self) -> int:
        """Return their number."""
        ...

    async def read(self, after: str, most: int) -> Sequence[str]:
        """Return the first names behind `after`, in order."""
        ...


class _Index:
    """The rooms in a sorted set, all with the same score, which Redis therefore sorts by name."""

    def __init__(self, client: Redis, key: str, prefix: str) -> None:
        self._client = client
        self._key = key
        self._first = f"[{prefix}" if prefix else "-"
        # Names are ASCII: every name that begins with the prefix sorts before this.
        self._end = b"(%b\xff" % prefix.encode("ascii") if prefix else "+"

    async def count(self) -> int:
        """Ask Redis: O(log(rooms))."""
        count: int = await self._client.call("ZLEXCOUNT", self._key, self._first, self._end)
        return count

    async def read(self, after: str, most: int) -> Sequence[str]:
        """Ask Redis: O(log(rooms) + most)."""
        start = f"({after}" if after and f"[{after}" >= self._first else self._first
        names = await self._client.call("ZRANGEBYLEX", self._key, start, self._end, "LIMIT", 0, most)
        return [name.decode() for name in names]


class _Names:
    """The rooms of a worker of an earlier version, which has no index."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    async def count(self) -> int:
        """Return the number."""
        return len(self._names)

    async def read(self, after: str, most: int) -> Sequence[str]:
        """Return a part of the list."""
        start = bisect_right(self._names, after)
        return self._names[start : start + most]


class RedisRoomList:
    """Lists the rooms of all leases: for a page, one command for each lease, and one for each room."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def __call__(self, query: RoomQuery = FIRST_ROOMS) -> RoomPage:
        """Merge the first names of all leases; a room that several leases have is listed once."""
        groups = await asyncio.gather(*[self._leases(keys) for keys in self._keys.lease_groups])
        sources = await asyncio.gather(
            *[self._source(keys, lease, query.prefix) for keys, leases in groups for lease in leases]
        )
        rooms: list[tuple[str, int]] = []
        after, more = query.after, True
        for _ in range(_ROUNDS):
            wanted = query.limit + 1 - len(rooms)
            found = await asyncio.gather(*[source.read(after, wanted) for source in sources])
            names = sorted(set().union(*found))[:wanted]
            rooms += await self._occupied(names)
            more = len(names) == wanted
            after = names[-1] if names else after
            if not more or len(rooms) > query.limit:
                break
        if len(rooms) > query.limit:
            rooms = rooms[: query.limit]
            return RoomPage(rooms, rooms[-1][0], await _total(sources))
        if more:
            return RoomPage(rooms, after, await _total(sources))
        return RoomPage(rooms, "", await _total(sources) if query.after else len(rooms))

    async def _leases(self, keys: Keys) -> tuple[Keys, list[str]]:
        leases = await self._client.call("ZRANGE", keys.workers, 0, _MOST_LEASES - 1)
        return keys, [lease.decode() for lease in leases]

    async def _source(self, keys: Keys, lease: str, prefix: str) -> _Source:
        names, index = keys.worker_rooms(lease), keys.worker_index(lease)
        registered, indexed = await asyncio.gather(self._client.call("SCARD", names), self._client.call("ZCARD", index))
        if indexed >= registered:
            return _Index(self._client, index, prefix)
        return _Names(sorted(name for name in await read_set(self._client, names) if name.startswith(prefix)))

    async def _occupied(self, names: Sequence[str]) -> list[tuple[str, int]]:
        """Return those of the rooms that have members, with their number."""
        counts: list[int] = []
        for start in range(0, len(names), _BATCH):
            batch = names[start : start + _BATCH]
            counts += await asyncio.gather(*[self._client.call("HLEN", self._keys.of_room(room)[1]) for room in batch])
        return [(room, count) for room, count in zip(names, counts, strict=True) if count]


async def _total(sources: Sequence[_Source]) -> int:
    return sum(await asyncio.gather(*[source.count() for source in sources]))
