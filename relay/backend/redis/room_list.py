"""The list of all rooms in Redis, read from the sorted sets of rooms of all leases.

No command reads more than a page: a fleet may have hundreds of thousands of rooms, and Redis serves nobody else while
it serves a command.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from heapq import heappop, heappush
from typing import Final, Protocol, TypeVar

from relay.backend.redis.keys import Keys
from relay.backend.redis.place import Redis, RedisPlace
from relay.backend.redis.survey import Survey, words_of
from relay.model.errors import RelayError
from relay.model.room_list import FIRST_ROOMS, RoomPage, RoomQuery

_SCANNED: Final = 500
"""Names of a set that are read at once."""

_SPARE: Final = 4
"""Names of each lease that are read beyond its share of a page."""

_MOST_LEASES: Final = 1000
"""Leases whose rooms are listed."""

_ROUNDS: Final = 8
"""How often a page reads on in place of rooms that have no members any more."""

_MOST_REASONS: Final = 3
"""Different reasons that a page names for the rooms that are missing."""

_T = TypeVar("_T")
_R = TypeVar("_R")


async def read_set(client: Redis, key: str) -> set[str]:
    """Return the names in a set, which is read page by page: a worker may have tens of thousands of rooms."""
    names, cursor = set[str](), b"0"
    while True:
        cursor, page = await client.call("SSCAN", key, cursor, "COUNT", _SCANNED)
        names.update(name.decode() for name in page)
        if cursor == b"0":
            return names


class _Source(Protocol):
    """The names of the rooms of one lease that begin with a prefix; `place` is where the lease is."""

    @property
    def place(self) -> RedisPlace:
        """The part of Redis that has them."""
        ...

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
        self.place = client.at_key(key)
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

    def __init__(self, place: RedisPlace, names: Sequence[str]) -> None:
        self.place = place
        self._names = names

    async def count(self) -> int:
        """Return the number."""
        return len(self._names)

    async def read(self, after: str, most: int) -> Sequence[str]:
        """Return a part of the list."""
        start = bisect_right(self._names, after)
        return self._names[start : start + most]


class _Reader:
    """The names of one source behind `after`, in order, read in portions: each has twice as many as the one before."""

    def __init__(self, source: _Source, after: str, portion: int) -> None:
        self._source = source
        self.place = source.place
        self._after = after
        self._portion = portion
        self._names: Sequence[str] = ()
        self._at = 0
        self._ended = False

    @property
    def is_dry(self) -> bool:
        """Whether its next name has to be read first."""
        return self._at >= len(self._names) and not self._ended

    async def read_on(self, most: int) -> None:
        """Read the next portion, of at most so many names."""
        portion, self._portion = min(self._portion, most), 2 * self._portion
        self._names, self._at = await self._source.read(self._after, portion), 0
        self._ended = len(self._names) < portion
        if self._names:
            self._after = self._names[-1]

    def next(self) -> str | None:
        """Return the next name; None at the end."""
        if self._at >= len(self._names):
            return None
        self._at += 1
        return self._names[self._at - 1]


class _Asking:
    """The questions for one page; `error` is the first one that was not answered, so that rooms are missing."""

    def __init__(self, survey: Survey) -> None:
        self._survey = survey
        self.reasons: dict[str, None] = {}
        self.error: RelayError | None = None

    async def ask(
        self, items: Sequence[_T], place_of: Callable[[_T], RedisPlace], ask: Callable[[_T], Awaitable[_R]]
    ) -> list[tuple[_T, _R]]:
        """Return the items whose part of Redis has answered, with the answers."""
        found = list[tuple[_T, _R]]()
        for item, answer in zip(items, await self._survey.ask(items, place_of, ask), strict=True):
            if isinstance(answer, RelayError):
                self.error = self.error or answer
                self.reasons[words_of(answer)] = None
            else:
                found.append((item, answer))
        return found

    @property
    def missing(self) -> str:
        """Why rooms are missing, for operators; "" if none are."""
        reasons = [*self.reasons]
        return "; ".join(reasons[:_MOST_REASONS]) + ("; …" if len(reasons) > _MOST_REASONS else "")


class _Merged:
    """The names of all sources, in order, each once."""

    def __init__(self, asking: _Asking, sources: Sequence[_Source], query: RoomQuery) -> None:
        self._asking = asking
        self._most = query.limit + 1
        # Rooms are spread evenly over the groups and mostly over the workers: one portion of each is enough for a page.
        portion = _SPARE + 2 * self._most // max(1, len(sources))
        self._dry = [_Reader(source, query.after, portion) for source in sources]
        self._heads: list[tuple[str, int, _Reader]] = []
        self._last = query.after

    async def take(self, count: int) -> Sequence[str]:
        """Return the next names; fewer only at the end."""
        names: list[str] = []
        while len(names) < count:
            if self._dry:
                dry, self._dry = self._dry, []
                # A reader that fails has read its last: its other names are missing.
                for reader, _ in await self._asking.ask(dry, _place_of, lambda reader: reader.read_on(self._most)):
                    self._push(reader)
            if not self._heads:
                break
            name, _, reader = heappop(self._heads)
            if name != self._last:
                names.append(name)
                self._last = name
            self._push(reader)
        return names

    def _push(self, reader: _Reader) -> None:
        if reader.is_dry:
            self._dry.append(reader)
        elif (name := reader.next()) is not None:
            # Readers have no order: of two with the same name, the number decides.
            heappush(self._heads, (name, id(reader), reader))


class RedisRoomList:
    """Lists the rooms of all leases: for a page, some commands for each lease and one for each room.

    The names of a page are read in portions, so that a worker reads little more than it returns, however many leases
    there are. On a cluster of which a part is away, a page has the rooms of the rest, and says so.
    """

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._survey = Survey(client)

    async def __call__(self, query: RoomQuery = FIRST_ROOMS) -> RoomPage:
        """Merge the first names of all leases; a room that several leases have is listed once.

        Raises `Unavailable` or `OutcomeUnknown` if no part of Redis answers.
        """
        asking = _Asking(self._survey)
        sources = await self._sources(asking, query.prefix)
        merged = _Merged(asking, sources, query)
        rooms: list[tuple[str, int]] = []
        after, more = query.after, True
        for _ in range(_ROUNDS):
            wanted = query.limit + 1 - len(rooms)
            names = await merged.take(wanted)
            rooms += await self._occupied(asking, names)
            more = len(names) == wanted
            after = names[-1] if names else after
            if not more or len(rooms) > query.limit:
                break
        if len(rooms) > query.limit:
            rooms = rooms[: query.limit]
            after = rooms[-1][0]
        elif not more:
            after = ""
        total = await _total(asking, sources) if after or query.after else len(rooms)
        return RoomPage(rooms, after, total, asking.missing)

    async def _sources(self, asking: _Asking, prefix: str) -> Sequence[_Source]:
        groups = await asking.ask(self._keys.lease_groups, self._place_of_group, self._leases)
        if not groups and asking.error is not None:
            raise asking.error
        leases = [(keys, lease) for keys, its in groups for lease in its]
        found = await asking.ask(
            leases, lambda one: self._place_of_group(one[0]), lambda one: self._source(*one, prefix)
        )
        return [source for _, source in found]

    def _place_of_group(self, keys: Keys) -> RedisPlace:
        return self._client.at_key(keys.workers)

    async def _leases(self, keys: Keys) -> Sequence[str]:
        leases = await self._client.call("ZRANGE", keys.workers, 0, _MOST_LEASES - 1)
        return [lease.decode() for lease in leases]

    async def _source(self, keys: Keys, lease: str, prefix: str) -> _Source:
        names, index = keys.worker_rooms(lease), keys.worker_index(lease)
        registered, indexed = await asyncio.gather(self._client.call("SCARD", names), self._client.call("ZCARD", index))
        if indexed >= registered:
            return _Index(self._client, index, prefix)
        found = sorted(name for name in await read_set(self._client, names) if name.startswith(prefix))
        return _Names(self._client.at_key(names), found)

    async def _occupied(self, asking: _Asking, names: Sequence[str]) -> list[tuple[str, int]]:
        """Return those of the rooms that have members, with their number."""
        counts = await asking.ask(
            names, self._client.at_room, lambda room: self._client.call("HLEN", self._keys.of_room(room)[1])
        )
        return [(room, count) for room, count in counts if count]


async def _total(asking: _Asking, sources: Sequence[_Source]) -> int:
    return sum(count for _, count in await asking.ask(sources, _place_of, lambda source: source.count()))


def _place_of(one: "_Source | _Reader") -> RedisPlace:
    return one.place
