"""The costs of the scripts in Redis: bounded by constants, also in the largest room that the defaults allow.

Redis's own statistics are taken, and of many calls of a script the fastest one: a busy machine makes single calls slow,
but not all of them.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from relay.backend.factory import Backend, build_backend
from relay.backend.positions import DeliveredPosition
from relay.backend.presence import JoinAttempt, PresenceEntry
from relay.backend.redis.keys import Keys
from relay.backend.redis.tags import tags_of
from relay.backend.settings import (
    BackendSettings,
    LeaseSettings,
    RedisSettings,
    RoomSettings,
    WebhookQueueSettings,
)
from relay.backend.trees import Ended, Writer
from relay.backend.waiting import MOST_WAITING, MOST_WAITING_BYTES
from relay.backend.webhooks import OUTBOX_EVENTS
from relay.fleet_key import FleetKey
from relay.metrics import Metrics
from relay.model.commands import MAX_LISTED, Publish
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.errors import Refused
from relay.model.publication import Publication
from relay.model.room_list import RoomQuery
from relay.model.tree import leaves_of
from relay.model.tree_changes import MOST_PREPARED, Expected, PathWrite, Prepared, TreeChange
from relay.model.tree_envelopes import merge_envelope, set_envelope
from relay.model.waiting import WaitingMessage
from tests.fleet import RedisServer

FEW, MANY = 10, 9_980
MOST_TREE_LEAVES = 4_000
CALLS = 15
CEILING, CEILING_OF_LISTS = 1000, 10_000
"""Microseconds of Redis, which the other tests interrupt: a long script in each of its calls."""

SPARE = 200
"""Microseconds by which the cost in a large room may exceed five times that in a small one."""

SETTINGS = RoomSettings(places=FEW)
INFO = b'{"a":"%b"}' % (b"x" * 1000)
KEYS = Keys("relay")
TAIL = "p" * 60
FLEET_KEY = FleetKey()
CROWD = "192.0.2.7"
"""The address of all members of a filled room."""

Call = Callable[[int], Awaitable[object]]


@dataclass
class Room:
    """A room in Redis that another worker has filled: with members, all of the history, and all of the keys."""

    name: str
    members: int
    seen: MessageId
    lease: str = "dead/0"

    def peer(self, number: int) -> str:
        return f"p{number}{TAIL}"


def fill(client: Any, name: str, members: int, *, lease: str = "dead/0", foreign: int = 0) -> Room:
    meta, presence, repeats, history, _, quiet = KEYS.of_room(name)
    tag = tags_of(FLEET_KEY)(name, CROWD)
    epoch, version = int(time.time() * 1000), int(time.time() * 1e6)
    seen = MessageId(epoch, SETTINGS.history.size)
    pipeline = client.pipeline(transaction=False)
    pipeline.hset(meta, mapping={"e": epoch, str(version): seen.seq})
    for number in range(members):
        keys = f"{'c' * 32} {'d' * 32}@1700000000000000+1000#{tag}{INFO.decode()}"
        pipeline.zadd(KEYS.places(name), {f"{tag} p{number}{TAIL}": 0})
        pipeline.hset(presence, f"p{number}{TAIL}", f"{version - 1} {lease} 0 {keys} {epoch}-1")
    # As large as messages can be that do not count as large: a history full of them has all the bytes that it may have.
    body = "y" * (SETTINGS.history.large - 200)
    for seq in range(1, seen.seq + 1):
        text = f'm {epoch}-{seq} p1 \n""\n{{"x":"{body}","from":"p1","id":"{epoch}-{seq}"'
        pipeline.xadd(history, {"e": text}, id=f"{epoch}-{seq}")
    for number in range(SETTINGS.history.repeat_keys if members > FEW else FEW):
        pipeline.zadd(repeats, {f"p1{TAIL} {number}{'k' * 50}": number % seen.seq})
    waits = MOST_WAITING if members > FEW else FEW
    for number in range(waits):
        envelope = "z" * (MOST_WAITING_BYTES // MOST_WAITING)
        pipeline.hset(KEYS.waiting(name), f"ann k{number}", f"{version + number} {epoch + 600_000} bob {envelope}")
    pipeline.hset(KEYS.waiting(name), "bytes", waits * (MOST_WAITING_BYTES // MOST_WAITING))
    pipeline.set(quiet, f"{epoch} 1 {' '.join(['1-1'] * 90)}")
    for number in range(foreign):
        pipeline.hset(meta, f"field{number}", "x" * 100)
    pipeline.execute()
    return Room(name, members, seen, lease)


@pytest.fixture
async def backend(own_redis: RedisServer) -> AsyncIterator[Backend]:
    settings = BackendSettings(
        SETTINGS, lease=LeaseSettings(duration=600), redis=RedisSettings(url=own_redis.url, timeout=60)
    )
    backend = build_backend(
        settings, worker="w", sink=lambda _: None, fleet_key=FLEET_KEY, metrics=Metrics(), clock=time.monotonic
    )
    async with backend:
        await backend.leases.beat()
        yield backend


async def cost(redis: Any, call: Call, *, calls: int = CALLS, command: str = "evalsha") -> int:
    """The microseconds of Redis that the cheapest of some calls takes, for commands of this name."""
    return min([await cost_of(redis, call, number, command) for number in range(calls)])


async def cost_of(redis: Any, call: Call, number: int, command: str) -> int:
    redis.config_resetstat()
    await call(number)
    return int(redis.info("commandstats")[f"cmdstat_{command}"]["usec"])


class Calls:
    """One call of each script, in one room."""

    def __init__(self, backend: Backend, room: Room) -> None:
        self._backend, self._room, self._generations = backend, room, dict[int, int]()

    async def join(self, number: int) -> None:
        attempt = JoinAttempt(
            room=self._room.name, peer=f"new{number}", offered="o" * 32, fresh="n" * 32, info=INFO, stamp="@1+1"
        )
        self._generations[number] = (await self._backend.presence.join(attempt)).generation

    async def join_without_a_place(self, number: int) -> None:
        attempt = JoinAttempt(room=self._room.name, peer=f"more{number}", offered="", fresh="n", address=CROWD)
        with pytest.raises(Refused, match="too_many_places"):
            await self._backend.presence.join(attempt)

    async def resume_again(self, number: int) -> None:
        """Return with the previous key, which may be done for ever."""
        await self.join(number)

    def _entry(self, number: int, **more: Any) -> PresenceEntry:
        return PresenceEntry(self._room.name, f"new{number}", self._generations[number], **more)

    async def publish_with_key(self, number: int) -> None:
        generation = self._generations[number]
        command = Publish(b'{"x":"%b"}' % (b"y" * 1000), key=f"key {number}")
        await self._publish(Publication(command, self._room.name, f"new{number}", generation))

    async def publish_to_many(self, number: int) -> None:
        to = tuple(self._room.peer(peer % FEW) for peer in range(100))
        await self._publish(Publication(Publish(b"{}", to=to), self._room.name, "$server"))

    async def publish_large(self, number: int) -> None:
        await self._publish(Publication(Publish(b'{"x":"%b"}' % (b"y" * 16_000)), self._room.name, "$server"))

    async def _publish(self, publication: Publication) -> None:
        outcome = list[object]()
        self._backend.bus.publish(publication, outcome.append)
        # Answered in the order of the requests.
        await self._backend.positions.noted(self._room.name, "nobody")
        assert outcome
        assert not isinstance(outcome[0], Exception), outcome

    async def change(self, number: int) -> None:
        assert await self._backend.presence.change(self._entry(number, info=b'{"n":%d}' % number))

    async def announce(self, number: int) -> None:
        await self._backend.presence.announce([self._entry(number, current="n" * 32, seen=self._room.seen)])

    async def note(self, number: int) -> None:
        position = DeliveredPosition(self._room.name, f"new{number}", self._generations[number], self._room.seen)
        await self._backend.positions.note([position] * 200)

    async def count(self, number: int) -> None:
        await self._backend.presence.roster(self._room.name, 0)

    async def hold(self, number: int) -> None:
        assert await self._backend.presence.leave(self._entry(number), hold=30)

    async def leave(self, number: int) -> None:
        assert await self._backend.presence.leave(self._entry(number))

    async def list_some(self, number: int) -> None:
        await self._backend.presence.roster(self._room.name)

    async def list_many(self, number: int) -> None:
        await self._backend.presence.roster(self._room.name, MAX_LISTED)

    async def replay(self, number: int) -> None:
        await self._backend.bus.replay(self._room.name, self._room.seen._replace(seq=self._room.seen.seq - 500))

    async def wait(self, number: int) -> None:
        """Record one more message than a full record may have; those whose time is over are looked for."""
        await self._backend.waiting.keep(self._room.name, WaitingMessage("ann", "bob", f"new{number}", b"{}", 5))

    async def wait_is_over(self, number: int) -> None:
        await self._backend.waiting.drop(self._room.name, "ann", [f"k{number}"])

    async def wait_of_one_is_over(self, number: int) -> None:
        await self._backend.waiting.drop(self._room.name, "nobody")

    async def list_waiting(self, number: int) -> None:
        assert await self._backend.waiting.of(self._room.name, "bob")

    async def beat(self, number: int) -> None:
        await self._backend.leases.beat()


ONE_EACH = [
    "join",
    "join_without_a_place",
    "resume_again",
    "publish_with_key",
    "publish_to_many",
    "publish_large",
    "change",
    "announce",
    "note",
    "count",
    "hold",
    "leave",
    "wait_is_over",
    "beat",
]
LISTS = ("list_some", "list_many", "replay", "wait", "wait_of_one_is_over", "list_waiting")


async def test_no_script_costs_more_in_a_large_room(own_redis: RedisServer, backend: Backend) -> None:
    costs = dict[tuple[str, int], int]()
    with own_redis.client as redis:
        for members in (FEW, MANY):
            calls = Calls(backend, fill(redis, f"room{members}", members))
            for name in (*ONE_EACH, *LISTS):
                costs[name, members] = await cost(redis, getattr(calls, name))
    for name in ONE_EACH:
        assert costs[name, MANY] <= min(CEILING, 5 * costs[name, FEW] + SPARE), (name, costs)
    for name in LISTS:
        assert costs[name, MANY] <= CEILING_OF_LISTS, (name, costs)


def put(path: str, value: object) -> TreeChange:
    return TreeChange([PathWrite(path, leaves_of(value, path))], set_envelope(path, value))


class TreeCalls:
    """One call of each script about trees, in a room whose tree has so many leaves; ann is a member there."""

    def __init__(self, backend: Backend, room: str, leaves: int) -> None:
        self._trees, self._room, self._leaves = backend.trees, room, leaves
        self._presence = backend.presence
        self._ann = Writer("ann")

    async def fill(self, value: str = "x" * 40) -> None:
        await self._write(put("", {f"k{number:04}": value for number in range(self._leaves)}))

    async def enter(self) -> None:
        joined = await self._presence.join(JoinAttempt(room=self._room, peer="ann", offered="", fresh="n"))
        self._ann = Writer("ann", joined.generation)

    async def _write(self, change: TreeChange, **more: Any) -> None:
        await self._trees.write(self._room, self._ann, change, ttl=600, **more)

    async def write(self, number: int) -> None:
        await self._write(put(f"k{number % self._leaves:04}", number))

    async def add(self, number: int) -> None:
        await self._write(put(f"new/n{number}", {"a": number, ".priority": 1}))

    async def remove(self, number: int) -> None:
        await self._write(put(f"new/n{number}", None))

    async def write_and_read(self, number: int) -> None:
        await self._write(put("k0001", number), reads="k0001")

    async def compare(self, number: int) -> None:
        with pytest.raises(Refused, match="stale_value"):
            await self._write(put("k0001", 0), expected=Expected("k0001", b"k0001\0stale\0"))

    async def read(self, number: int) -> None:
        await self._trees.read(self._room, f"k{number % self._leaves:04}", ttl=600)

    async def prepare(self, number: int) -> None:
        prepared = Prepared([put(f"k{one:04}", None) for one in range(MOST_PREPARED)])
        assert await self._trees.prepare(self._room, self._ann, prepared, ttl=600)

    async def finish(self, number: int) -> None:
        """End a connection that has prepared all that it may: changes of values that others write again."""
        prepared = Prepared([put(f"gone{one}", number) for one in range(MOST_PREPARED)])
        ended = [Ended("ann", self._ann.generation, prepared)]
        assert await self._trees.finish(self._room, ended, seen=BEFORE_ALL, ttl=600) == MOST_PREPARED

    # Of the whole tree.

    async def write_all(self, number: int) -> None:
        await self.fill()

    async def merge_many(self, number: int) -> None:
        values = {f"k{one:04}": number for one in range(1000)}
        writes = [PathWrite(path, {path: b"%d" % number}) for path in values]
        await self._write(TreeChange(writes, merge_envelope("", values)))

    async def read_all(self, number: int) -> None:
        part = await self._trees.read(self._room, "", ttl=600)
        assert len(part.leaves) >= self._leaves

    async def compare_all(self, number: int) -> None:
        with pytest.raises(Refused, match="stale_value"):
            await self._write(put("k0001", 0), expected=Expected("", b"stale"))

    async def write_and_read_all(self, number: int) -> None:
        await self._write(put("k0001", number), reads="")


OF_A_LEAF = ("write", "add", "remove", "write_and_read", "compare", "read", "prepare", "finish")
OF_A_TREE = ("write_all", "merge_many", "read_all", "compare_all", "write_and_read_all")
CEILING_OF_TREES = 50_000
"""Microseconds of Redis for a whole tree of 4,000 leaves with 200 KB, which takes 12,000 on a quiet machine."""


async def test_no_script_costs_more_in_a_large_tree(own_redis: RedisServer, backend: Backend) -> None:
    costs = dict[tuple[str, int], int]()
    with own_redis.client as redis:
        for leaves in (FEW, MOST_TREE_LEAVES):
            calls = TreeCalls(backend, f"tree{leaves}", leaves)
            await calls.fill()
            await calls.enter()
            for name in (*OF_A_LEAF, *(OF_A_TREE if leaves > FEW else ())):
                costs[name, leaves] = await cost(redis, getattr(calls, name))
    for name in OF_A_LEAF:
        assert costs[name, MOST_TREE_LEAVES] <= 5 * costs[name, FEW] + SPARE, (name, costs)
    for name in OF_A_TREE:
        assert costs[name, MOST_TREE_LEAVES] <= CEILING_OF_TREES, (name, costs)


async def test_the_deepest_paths_cost_no_more_than_their_bytes(own_redis: RedisServer, backend: Backend) -> None:
    calls = TreeCalls(backend, "deep", 1)
    below = "/".join([f"{number:03}" + "k" * 765 for number in range(15)])
    with own_redis.client as redis:
        deep = await cost(redis, lambda number: calls._write(put(f"{below}/{number}", number)))
        assert deep <= CEILING_OF_LISTS


async def test_members_of_a_dead_worker_are_taken_over_page_by_page(own_redis: RedisServer, backend: Backend) -> None:
    with own_redis.client as redis:
        room = fill(redis, "room", MANY)
        redis.zadd(KEYS.workers, {room.lease: 1})
        redis.sadd(KEYS.worker_rooms(room.lease), "room")
        await backend.leases.beat()
        pages = backend.leases.adopt(room.lease)
        adopted = set[str]()
        costs = list[int]()
        for _ in range(CALLS):
            redis.config_resetstat()
            page = await anext(pages)
            adopted.update(member.peer for member in page)
            costs.append(int(redis.info("commandstats")["cmdstat_evalsha"]["usec"]))
        assert len(adopted) >= CALLS * 35
        assert min(costs) <= CEILING_OF_LISTS, costs


async def test_a_full_queue_of_the_webhook_costs_no_more(own_redis: RedisServer) -> None:
    most, outbox = 20_000, KEYS.outbox("room")
    settings = BackendSettings(redis=RedisSettings(url=own_redis.url, timeout=60), webhook=WebhookQueueSettings(most))
    backend = build_backend(
        settings, worker="w", sink=lambda _: None, fleet_key=FLEET_KEY, metrics=Metrics(), clock=time.monotonic
    )
    entry = f"j 1764406380123-%d 1764406380123 {TAIL} - subject {INFO.decode()}"
    with own_redis.client as redis:
        pipeline = redis.pipeline(transaction=False)
        for number in range(most):
            pipeline.xadd(KEYS.webhook[0], {"r": "room", "e": entry % number})
        pipeline.rpush(outbox, *[entry % number for number in range(OUTBOX_EVENTS)])
        pipeline.execute()
        async with backend:
            queue, done, removals = backend.webhook, None, list[int]()
            assert queue is not None
            for number in range(3):
                batch = await queue.take(1000, done=done)
                assert batch is not None
                assert 400 < len(batch.events) <= 1000
                assert await cost(redis, lambda _: queue.take(1000)) <= CEILING_OF_LISTS
                # A page is added, and as many are dropped.
                assert await cost(redis, lambda _: queue.move(["room"]), calls=3) <= CEILING_OF_LISTS
                done = batch
                removals += [await cost_of(redis, lambda _, done=done: queue.take(1, done=done), number, "evalsha")]
            assert min(removals) <= CEILING_OF_LISTS, removals
            assert redis.xlen(KEYS.webhook[0]) <= most


async def test_fields_of_another_program_cost_nothing(own_redis: RedisServer, backend: Backend) -> None:
    with own_redis.client as redis:
        flooded = fill(redis, "flooded", FEW, foreign=50_000)
        calls = Calls(backend, flooded)
        assert await cost(redis, calls.count) <= CEILING
        # The room's own counter cannot be found among them: a new epoch begins, and they are gone.
        assert await cost(redis, calls.join) <= CEILING
        assert redis.hlen(KEYS.of_room("flooded")[0]) == 2
        assert (await backend.presence.roster("flooded", 0)).id.epoch > flooded.seen.epoch


async def test_a_new_epoch_deletes_nothing_large_in_the_main_thread(own_redis: RedisServer, backend: Backend) -> None:
    with own_redis.client as redis:
        costs = list[int]()
        for number in range(3):
            room = fill(redis, f"room{number}", MANY)
            seen = room.seen._replace(seq=room.seen.seq + 1)
            redis.config_resetstat()
            assert (await backend.bus.replay(room.name, seen)).lost == "epoch"
            statistics = redis.info("commandstats")
            assert "cmdstat_del" not in statistics
            costs.append(int(statistics["cmdstat_evalsha"]["usec"]))
        assert min(costs) <= CEILING, costs


async def test_a_page_of_a_hundred_thousand_rooms_takes_no_long_command(
    own_redis: RedisServer, backend: Backend
) -> None:
    with own_redis.client as redis:
        pipeline = redis.pipeline(transaction=False)
        for start in range(0, 100_000, 50_000):
            names = [f"room{number:06}" for number in range(start, start + 50_000)]
            lease = f"w{start}/0"
            pipeline.sadd(KEYS.worker_rooms(lease), *names)
            pipeline.zadd(KEYS.worker_index(lease), dict.fromkeys(names, 0))
            pipeline.zadd(KEYS.workers, {lease: 2**52})
            for name in names[:MAX_LISTED]:
                pipeline.hset(KEYS.of_room(name)[1], "peer", "entry")
        pipeline.execute()
        longest: list[float] = []
        for query in (RoomQuery(limit=MAX_LISTED), RoomQuery("room05", "", MAX_LISTED), RoomQuery("none")):
            redis.config_resetstat()
            page = await backend.list_rooms(query)
            assert len(page.rooms) == (0 if query.prefix == "none" else MAX_LISTED)
            statistics = redis.info("commandstats")
            assert "cmdstat_sscan" not in statistics
            longest += [one["usec"] / one["calls"] for name, one in statistics.items() if name != "cmdstat_info"]
        assert max(longest) < CEILING_OF_LISTS, longest


async def test_the_rooms_of_a_worker_are_read_page_by_page(own_redis: RedisServer, backend: Backend) -> None:
    with own_redis.client as redis:
        redis.sadd(KEYS.worker_rooms("dead/0"), *[f"room{number}" for number in range(50_000)])
        redis.zadd(KEYS.workers, {"dead/0": 2**52})
        redis.hset(KEYS.of_room("room7")[1], "peer", "entry")
        redis.config_resetstat()
        # A worker of an earlier version: it has no index.
        assert (await backend.list_rooms(RoomQuery("room7", limit=5))).rooms == [("room7", 1)]
        statistics = redis.info("commandstats")
        assert "cmdstat_smembers" not in statistics
        assert statistics["cmdstat_sscan"]["calls"] >= 50


async def test_the_members_of_a_large_room_all_have_their_turn_in_lists(
    own_redis: RedisServer, backend: Backend
) -> None:
    with own_redis.client as redis:
        fill(redis, "room", 150)
    rosters = [await backend.presence.roster("room", 100) for _ in range(100)]
    for roster in rosters:
        assert (roster.count, len({member.peer for member in roster.members})) == (150, 100)
    assert len({member.peer for roster in rosters for member in roster.members}) == 150
    assert len((await backend.presence.roster("room", MAX_LISTED)).members) == 150
