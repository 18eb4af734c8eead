"""The list of all rooms: which commands a page takes."""

from bisect import bisect_right
from collections.abc import AsyncIterator

import pytest

from relay.backend.redis import room_list, survey
from relay.backend.redis.client import RedisClient
from relay.backend.redis.cluster.keys import ClusterKeys
from relay.backend.redis.connection import Dialer
from relay.backend.redis.keys import Keys
from relay.backend.redis.room_list import RedisRoomList
from relay.model.room_list import RoomPage, RoomQuery
from tests.unit.backend.redis.conftest import ScriptedRedis, array

INDEX = b"relay:worker:a/1:index"
WORKERS, ROOMS = 10, 1000


class Rooms:
    """The rooms of the lease a/1 in a stand-in for Redis; `empty` are those without members."""

    def __init__(self, names: list[bytes], *, empty: set[bytes], indexed: bool) -> None:
        self.names = names
        self.empty = empty
        self.indexed = indexed

    def answer(self, command: list[bytes]) -> bytes:
        match command:
            case [b"ZRANGE", b"relay:workers", *_]:
                return array(b"a/1")
            case [b"SCARD", *_]:
                return b":%d\r\n" % len(self.names)
            case [b"ZCARD", *_]:
                return b":%d\r\n" % (len(self.names) if self.indexed else 0)
            case [b"ZRANGEBYLEX", _, start, _, b"LIMIT", b"0", most]:
                behind = [name for name in self.names if start == b"-" or name > start[1:]]
                return array(*behind[: int(most)])
            case [b"ZLEXCOUNT", *_]:
                return b":%d\r\n" % len(self.names)
            case [b"SSCAN", _, cursor, *_]:
                half = len(self.names) // 2
                part = self.names[:half] if cursor == b"0" else self.names[half:]
                return b"*2\r\n" + (b"$1\r\n7\r\n" if cursor == b"0" else b"$1\r\n0\r\n") + array(*part)
            case [b"HLEN", key]:
                return b":%d\r\n" % (key.split(b"{")[1].split(b"}")[0] not in self.empty)
        return b"+OK\r\n"


class Fleet:
    """The rooms of many workers in a cluster, each in the indexes of two of them."""

    def __init__(self, *, skewed: bool) -> None:
        self.keys = ClusterKeys("relay")
        self.indexes: dict[bytes, list[bytes]] = {}
        self.read = 0
        for number in range(ROOMS):
            room = f"room{number:05}"
            # Evenly, or the first half of all names with one worker, and the rest with another.
            workers = (number // (ROOMS // 2),) if skewed else (number % WORKERS, number * 7 % WORKERS)
            for worker in workers:
                key = self.keys.leases_of_room(room).worker_index(f"w{worker}/1").encode()
                self.indexes.setdefault(key, []).append(room.encode())

    def answer(self, command: list[bytes]) -> bytes:
        match command:
            case [b"ZRANGE", *_]:
                return array(*[b"w%d/1" % number for number in range(WORKERS)])
            case [b"SCARD" | b"ZCARD" | b"ZLEXCOUNT", key, *_]:
                return b":%d\r\n" % len(self.indexes.get(key.replace(b":rooms", b":index"), []))
            case [b"ZRANGEBYLEX", key, start, _, b"LIMIT", b"0", most]:
                names = self.indexes.get(key, [])
                first = 0 if start == b"-" else bisect_right(names, start[1:])
                found = names[first : first + int(most)]
                self.read += len(found)
                return array(*found)
            case [b"HLEN", *_]:
                return b":2\r\n"
        return b"+OK\r\n"


@pytest.fixture
async def rooms(server: ScriptedRedis) -> AsyncIterator[RedisRoomList]:
    dialer = Dialer(server.url, timeout=5, name="test")
    async with RedisClient(dialer, timeout=5, waiting=100, on_reconnect=lambda: None) as client:
        yield RedisRoomList(client, Keys("relay"))


def sent(server: ScriptedRedis, name: bytes) -> list[list[bytes]]:
    return [command for command in server.commands if command[0] == name]


async def test_a_page_reads_no_more_names_than_it_needs(server: ScriptedRedis, rooms: RedisRoomList) -> None:
    names = [b"r%d" % number for number in range(9)]
    server.answer = Rooms(names, empty=set(), indexed=True).answer
    assert await rooms(RoomQuery(limit=2)) == RoomPage([("r0", 1), ("r1", 1)], "r1", 9)
    assert await rooms(RoomQuery(after="r1", limit=2)) == RoomPage([("r2", 1), ("r3", 1)], "r3", 9)
    assert sent(server, b"ZRANGEBYLEX") == [
        [b"ZRANGEBYLEX", INDEX, b"-", b"+", b"LIMIT", b"0", b"3"],
        [b"ZRANGEBYLEX", INDEX, b"(r1", b"+", b"LIMIT", b"0", b"3"],
    ]
    assert len(sent(server, b"HLEN")) == 6
    assert not sent(server, b"SSCAN")


async def test_a_prefix_bounds_the_rooms_that_are_read(server: ScriptedRedis, rooms: RedisRoomList) -> None:
    server.answer = Rooms([b"r0", b"r1"], empty=set(), indexed=True).answer
    await rooms(RoomQuery("r", "a", 5))
    await rooms(RoomQuery("r", "r0", 5))
    assert [command[2:4] for command in sent(server, b"ZRANGEBYLEX")] == [[b"[r", b"(r\xff"], [b"(r0", b"(r\xff"]]
    assert {tuple(command[2:]) for command in sent(server, b"ZLEXCOUNT")} == {(b"[r", b"(r\xff")}


async def test_rooms_without_members_are_left_out_and_others_take_their_place(
    server: ScriptedRedis, rooms: RedisRoomList
) -> None:
    names = [b"r%d" % number for number in range(6)]
    server.answer = Rooms(names, empty={b"r0", b"r2", b"r3"}, indexed=True).answer
    assert await rooms(RoomQuery(limit=2)) == RoomPage([("r1", 1), ("r4", 1)], "r4", 6)
    assert await rooms(RoomQuery(limit=9)) == RoomPage([("r1", 1), ("r4", 1), ("r5", 1)], "", 3)


async def test_a_page_of_many_rooms_without_members_is_short_and_has_a_next(
    server: ScriptedRedis, rooms: RedisRoomList, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_list, "_ROUNDS", 2)
    names = [b"r%02d" % number for number in range(20)]
    server.answer = Rooms(names, empty={*names[:19]}, indexed=True).answer
    page = await rooms(RoomQuery(limit=4))
    assert page == RoomPage([], "r09", 20)
    assert (await rooms(RoomQuery(after=page.next, limit=10))).rooms == [("r19", 1)]


async def test_the_rooms_of_a_worker_without_an_index_are_read_from_its_set(
    server: ScriptedRedis, rooms: RedisRoomList
) -> None:
    names = [b"b0", b"a1", b"a0", b"a2"]
    server.answer = Rooms(names, empty=set(), indexed=False).answer
    assert await rooms(RoomQuery("a", limit=2)) == RoomPage([("a0", 1), ("a1", 1)], "a1", 3)
    assert await rooms(RoomQuery("a", "a1", 2)) == RoomPage([("a2", 1)], "", 3)
    assert len(sent(server, b"SSCAN")) == 4


async def test_members_are_counted_in_batches(
    server: ScriptedRedis, rooms: RedisRoomList, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "_BATCH", 2)
    server.answer = Rooms([b"r%d" % number for number in range(5)], empty=set(), indexed=True).answer
    assert len((await rooms(RoomQuery(limit=9))).rooms) == 5
    batches = [[command[0] for command in read] for read in server.reads if read[0][0] == b"HLEN"]
    assert [len(batch) for batch in batches] == [2, 2, 1]


@pytest.mark.parametrize("skewed", [False, True])
async def test_a_page_of_many_leases_reads_little_more_than_it_has(server: ScriptedRedis, *, skewed: bool) -> None:
    fleet = Fleet(skewed=skewed)
    server.answer = fleet.answer
    sources, limit = WORKERS * len(fleet.keys.lease_groups), 100
    found, after = list[str](), ""
    dialer = Dialer(server.url, timeout=30, name="test")
    async with RedisClient(dialer, timeout=30, waiting=1000, on_reconnect=lambda: None) as client:
        list_rooms = RedisRoomList(client, fleet.keys)
        while True:
            fleet.read, before = 0, len(server.commands)
            page = await list_rooms(RoomQuery(after=after, limit=limit))
            found += [name for name, _ in page.rooms]
            # Of the first names of all leases, a page would read all 2,000.
            assert fleet.read <= sources * (room_list._SPARE + 2) + 3 * limit
            # SCARD, ZCARD, one read or two, and ZLEXCOUNT for each; HLEN for each room.
            assert len(server.commands) - before <= 5 * sources + limit + 20
            after = page.next
            if not after:
                break
    assert found == [f"room{number:05}" for number in range(ROOMS)]
    lengths = [int(command[-1]) for command in sent(server, b"ZRANGEBYLEX")]
    assert max(lengths) <= limit + 1


async def test_no_more_is_asked_at_once_than_a_batch(server: ScriptedRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "_BATCH", 7)
    fleet = Fleet(skewed=False)
    server.answer = fleet.answer
    dialer = Dialer(server.url, timeout=30, name="test")
    async with RedisClient(dialer, timeout=30, waiting=1000, on_reconnect=lambda: None) as client:
        await RedisRoomList(client, fleet.keys)(RoomQuery(limit=50))
    # Two commands for each lease at first; nothing else is sent before they are answered.
    listed = [read for read in server.reads if read[0][0] in {b"ZRANGEBYLEX", b"HLEN", b"ZLEXCOUNT", b"SCARD"}]
    assert max(map(len, listed)) <= 2 * 7
