"""Messages of one turn of the event loop, which may share a call of Redis: the same outcomes as one by one."""

import asyncio
import random
from typing import Any

import pytest

from relay.backend.presence import JoinAttempt, PresenceEntry
from relay.backend.redis.cluster.slots import slot_of_tag
from relay.backend.redis.replies import ScriptFailed
from relay.model.commands import NO_IDENTITY, Identity, Publish
from relay.model.envelope import BEFORE_ALL, MembershipVersion, MessageId
from relay.model.errors import NotMember, OutcomeUnknown, Refused, RelayError, Replaced, Unavailable
from relay.model.events import MemberJoined, MemberLeft, Message
from relay.model.publication import Publication, Receipt
from tests.clusters import Cluster
from tests.conftest import RedisServer
from tests.contract.conftest import FakeWorker, MakeWorker

over_redis = pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
real_redis = pytest.mark.parametrize("backend", ["redis"], indirect=True)

Outcome = Receipt | RelayError


def send(worker: FakeWorker, publication: Publication) -> "asyncio.Future[Outcome]":
    outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    worker.bus.publish(publication, outcome.set_result)
    return outcome


class Room:
    """A room of one worker, with the claims of its members as a worker keeps them."""

    def __init__(self, worker: FakeWorker, name: str) -> None:
        self.worker, self.name = worker, name
        self.generations: dict[str, int] = {}
        self.versions: dict[str, MembershipVersion] = {}
        self.seen = self.first = BEFORE_ALL

    async def join(self, peer: str, offered: str = "") -> None:
        fresh = f"{peer}{len(offered)}"
        joined = await self.worker.presence.join(JoinAttempt(room=self.name, peer=peer, offered=offered, fresh=fresh))
        self.generations[peer] = joined.generation
        self.versions[peer] = MembershipVersion(joined.generation, joined.id.epoch)
        self.seen = joined.id
        self.first = self.first if self.first.seq else joined.id

    async def leave(self, peer: str) -> None:
        assert await self.worker.presence.leave(PresenceEntry(self.name, peer, self.generations[peer]))

    def publication(self, peer: str, body: bytes = b'{"x":1}', *, generation: int = 0, **more: Any) -> Publication:
        version = more.pop("version", self.versions.get(peer, MembershipVersion()))
        own = self.generations.get(peer, 0) + generation
        return Publication(Publish(body, **more), self.name, peer, own, version, self.seen)

    def learn(self, publication: Publication, outcome: Outcome) -> None:
        if isinstance(outcome, Receipt):
            self.seen = max(self.seen, outcome.id)
            if outcome.version is not None:
                self.versions[publication.sender] = outcome.version

    async def publish(self, publications: list[Publication], *, together: bool) -> list[Outcome]:
        if together:
            outcomes = await asyncio.gather(*[send(self.worker, one) for one in publications])
        else:
            outcomes = [await send(self.worker, one) for one in publications]
        for publication, outcome in zip(publications, outcomes, strict=True):
            self.learn(publication, outcome)
        return outcomes

    def events(self, given: list[Any]) -> list[object]:
        """The events of this room, without its name and its epoch."""
        return [self.shape(event) for event in given if event.room == self.name]

    def shape(self, event: Any) -> object:
        if isinstance(event, Message):
            body = event.body.replace(b'"%d-' % event.id.epoch, b'"E-')
            return event.id.seq, event.sender, event.to, event.channel, body
        return type(event), event.id.seq, event.peer

    def outcome(self, outcome: Outcome) -> object:
        if isinstance(outcome, Receipt):
            return outcome.id.seq - self.first.seq, outcome.repeat
        return type(outcome), outcome.code, outcome.detail


Step = tuple[str, list[dict[str, Any]]]


def message(chance: random.Random, peers: list[str]) -> dict[str, Any]:
    """The arguments of a message; half of them are plain, so that several share a call."""
    key = f"k{chance.randrange(4)}"
    kinds: list[dict[str, Any]] = [
        {"to": (chance.choice(peers),)},
        {"to": tuple(chance.sample(peers, 2))},
        {"key": key},
        {"key": "n", "after": key},
        {"stored": False},
        {"version": MembershipVersion()},
        {"version": MembershipVersion(1, 1), "generation": chance.choice([-1, 1])},
        {"body": b'{"large":"%s"}' % (b"x" * chance.choice([3000, 4000, 5000, 90_000]))},
        {"channel": "é\n", "key": "mark", "identity": NO_IDENTITY},
        {"identity": Identity(key)},
    ]
    plain = {"peer": chance.choice(peers[:3]), "body": b'{"n":%d}' % chance.randrange(1000)}
    return plain | (chance.choice(kinds) if chance.random() < 0.5 else {})


def steps(chance: random.Random) -> list[Step]:
    """Turns of messages, and between them joins and takeovers."""
    peers = ["ann", "ben", "cy", "dee"]
    taken: list[Step] = [("join", [{"peer": peer}]) for peer in peers[:3]]
    for _ in range(12):
        number = chance.choice([1, 2, 3, 10, 20, 40])
        taken.append(("publish", [message(chance, peers) for _ in range(number)]))
        taken.append(chance.choice([("stay", []), ("again", [{"peer": "ann"}]), ("stay", [])]))
    return taken


async def play(room: Room, played: list[Step], *, together: bool, offers: int = 0) -> list[object]:
    outcomes: list[object] = []
    offered = ""
    for _ in range(offers):
        offered = f"ann{len(offered)}"
    for kind, arguments in played:
        if kind == "join":
            await room.join(arguments[0]["peer"])
        elif kind == "again":
            # A takeover raises the room's version, so that the others take the slow path once.
            offered = f"ann{len(offered)}"
            await room.join("ann", offered)
        elif kind == "publish":
            publications = [room.publication(**one) for one in arguments]
            outcomes += map(room.outcome, await room.publish(publications, together=together))
    return outcomes


@pytest.mark.parametrize("seed", range(6))
async def test_outcomes_events_and_history_are_those_of_single_messages(make_worker: MakeWorker, seed: int) -> None:
    worker, hears = await make_worker("a"), await make_worker("b")
    alone, joined = Room(worker, "alone"), Room(worker, "together")
    await hears.bus.subscribe(["alone", "together"])
    played = steps(random.Random(seed))

    expected = await play(alone, played, together=False)
    assert await play(joined, played, together=True) == expected

    await hears.received.until(lambda events: sum(e.id == joined.seen for e in events if e.room == "together"))
    await hears.received.until(lambda events: sum(e.id == alone.seen for e in events if e.room == "alone"))
    assert joined.events(hears.received.events) == alone.events(hears.received.events)
    assert any(isinstance(event, tuple) and len(event) == 5 for event in joined.events(hears.received.events))
    for back in (0, 5, 20, 45):
        replays = [
            (room, await worker.bus.replay(room.name, MessageId(room.seen.epoch, room.seen.seq - back)))
            for room in (alone, joined)
        ]
        shapes = [(replay.lost, room.events(list(replay.events))) for room, replay in replays]
        assert shapes[0] == shapes[1]


async def play_rooms(rooms: list[Room], played: list[list[Step]], chance: random.Random) -> list[list[object]]:
    """Play the steps of all rooms side by side: the messages of a step come in one turn, those of all rooms mixed."""
    outcomes: list[list[object]] = [[] for _ in rooms]
    for number in range(len(played[0])):
        queues = []
        for room, its_steps, its_outcomes in zip(rooms, played, outcomes, strict=True):
            kind, arguments = its_steps[number]
            if kind == "publish":
                queues.append([(room, its_outcomes, room.publication(**one)) for one in arguments])
            else:
                # Each join has another offer, as in `play`.
                offers = [kind for kind, _ in its_steps[:number]].count("again")
                its_outcomes += await play(room, [(kind, arguments)], together=False, offers=offers)
        sent = []
        while queues:
            queue = chance.choice(queues)
            room, its_outcomes, publication = queue.pop(0)
            sent.append((room, its_outcomes, publication, send(room.worker, publication)))
            queues = [one for one in queues if one]
        for room, its_outcomes, publication, outcome in sent:
            room.learn(publication, await outcome)
            its_outcomes.append(room.outcome(outcome.result()))
    return outcomes


@pytest.mark.parametrize("seed", range(4))
async def test_outcomes_are_those_of_single_messages_also_for_several_rooms(make_worker: MakeWorker, seed: int) -> None:
    worker, hears = await make_worker("a"), await make_worker("b")
    alone = [Room(worker, f"alone{n}") for n in range(4)]
    mixed = [Room(worker, f"mixed{n}") for n in range(4)]
    names = [room.name for room in (*alone, *mixed)]
    await hears.bus.subscribe(names)
    # Expected ids are kept for rooms with members.
    await worker.bus.subscribe(names)
    played = [steps(random.Random(100 * seed + number)) for number in range(4)]

    expected = [await play(room, its_steps, together=False) for room, its_steps in zip(alone, played, strict=True)]
    assert await play_rooms(mixed, played, random.Random(seed)) == expected

    for one, other in zip(alone, mixed, strict=True):
        for room in (one, other):
            await hears.received.until(lambda events, room=room: any(  # type: ignore[misc]
                event.room == room.name and event.id == room.seen for event in events))  # fmt: skip
        assert other.events(hears.received.events) == one.events(hears.received.events)


@pytest.mark.parametrize("rooms", [1, 3])
async def test_workers_that_publish_at_once_get_ids_without_holes(make_worker: MakeWorker, rooms: int) -> None:
    workers = [await make_worker(name) for name in ("a", "b")]
    names = [f"room{n}" for n in range(rooms)]
    for worker in workers:
        await worker.bus.subscribe(names)
    own = [Room(worker, name) for worker in workers for name in names]
    for number, room in enumerate(own):
        await room.join(f"peer{number}")
    for room in own:
        await room.publish([room.publication(peer) for peer in room.generations], together=True)
    sent = []
    for turn in range(40):
        for room in own:
            (peer,) = room.generations
            if room.worker is workers[0] or turn % 3 == 0:
                sent += [send(room.worker, room.publication(peer)) for _ in range(1 + turn % 2)]
        await asyncio.sleep(0.002 * (turn % 4))
        for room in own:
            seen = [event.id for event in room.worker.received.events if event.room == room.name]
            room.seen = max(room.seen, *seen)
    outcomes = await asyncio.gather(*sent)
    assert all(isinstance(outcome, Receipt) for outcome in outcomes)
    await workers[0].received.until(
        lambda events: sum(isinstance(one, Message) for one in events) >= len(sent) + len(own)
    )
    for name in names:
        events = [event for event in workers[0].received.events if event.room == name]
        seqs = [event.id.seq for event in events]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
        messages = [event for event in events if isinstance(event, Message)]
        # A text that came with a wrong id got the right one in both places.
        assert all(event.body.endswith(b'"id":"%d-%d"' % event.id) for event in messages)


async def test_messages_of_one_turn_get_their_ids_in_its_order(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    room, other = Room(worker, "room"), Room(worker, "other")
    for one in (room, other):
        await one.join("ann")
        await one.join("ben")
    publications = [
        one.publication(peer, b'{"n":%d}' % n) for n in range(50) for one in (room, other) for peer in ("ann", "ben")
    ]
    outcomes = await asyncio.gather(*[send(worker, one) for one in publications])
    for one in (room, other):
        seqs = [
            outcome.id.seq
            for publication, outcome in zip(publications, outcomes, strict=True)
            if publication.room == one.name
        ]
        # The version of the first member is that of before the second one came, so both paths were taken.
        assert seqs == list(range(one.seen.seq + 1, one.seen.seq + 101))


async def test_a_member_that_leaves_in_the_turn_publishes_what_it_sent_before_and_nothing_else(
    make_worker: MakeWorker,
) -> None:
    worker = await make_worker("a")
    room = Room(worker, "room")
    await worker.bus.subscribe(["room"])
    await room.join("ann")
    await room.join("ben")
    await room.publish([room.publication(peer) for peer in ("ann", "ben")], together=True)

    before = [send(worker, room.publication(peer, b'{"n":1}')) for peer in ("ann", "ben")]
    leaving = worker.presence.leave(PresenceEntry("room", "ben", room.generations["ben"]))
    after = [send(worker, room.publication(peer, b'{"n":2}')) for peer in ("ann", "ben")]

    assert await leaving
    start = room.seen.seq
    assert [(await one).id.seq for one in before] == [start + 1, start + 2]
    assert (await after[0]).id.seq == start + 4
    assert isinstance(await after[1], NotMember)
    await worker.received.until(lambda events: events[-1].id.seq == start + 4)
    kinds = [type(event) for event in worker.received.events if event.id.seq > start]
    assert kinds == [Message, Message, MemberLeft, Message]
    assert MemberJoined in {type(event) for event in worker.received.events}


async def test_a_member_that_another_worker_took_over_fails_alone(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    room, elsewhere = Room(a, "room"), Room(b, "room")
    await room.join("ann")
    await room.join("ben")
    await room.publish([room.publication(peer) for peer in ("ann", "ben")], together=True)
    await elsewhere.join("ben", "ben0")

    outcomes = await room.publish([room.publication(peer) for peer in ("ann", "ben", "ann", "ben")], together=True)

    assert [type(outcome) for outcome in outcomes] == [Receipt, Replaced, Receipt, Replaced]
    seqs = [outcome.id.seq for outcome in outcomes if isinstance(outcome, Receipt)]
    assert seqs == [elsewhere.seen.seq + 1, elsewhere.seen.seq + 2]


async def test_an_addressee_that_is_not_there_fails_its_own_message_alone(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    room = Room(worker, "room")
    await room.join("ann")
    await room.join("ben")
    await room.publish([room.publication("ann")], together=True)
    start = room.seen.seq
    outcomes = await room.publish(
        [
            room.publication("ann", to=("ben",)),
            room.publication("ann", to=("ben", "nobody")),
            room.publication("ann"),
        ],
        together=True,
    )
    first, absent, last = outcomes
    assert isinstance(first, Receipt)
    assert isinstance(last, Receipt)
    assert isinstance(absent, Refused)
    assert (absent.code, absent.detail["peers"]) == ("no_such_peer", ["nobody"])
    assert (first.id.seq, last.id.seq) == (start + 1, start + 2)


async def current(room: Room) -> None:
    """Let members join whose membership version is the room's from then on."""
    await room.join("ann")
    await room.publish([room.publication("ann")], together=True)


@real_redis
async def test_a_history_ahead_of_the_counter_is_begun_anew(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    room = Room(worker, "room")
    await current(room)
    start = room.seen
    history = worker.keys.of_room("room")[3]
    await worker.client.call("XADD", history, f"{start.epoch}-{start.seq + 9}", "e", "x")
    outcomes = await room.publish([room.publication("ann") for _ in range(5)], together=True)
    assert [outcome.id.seq - start.seq for outcome in outcomes if isinstance(outcome, Receipt)] == [1, 2, 3, 4, 5]
    assert await worker.client.call("XLEN", history) == 5


@real_redis
async def test_messages_that_fail_inside_redis_have_unknown_outcomes_and_take_no_id(
    make_worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    worker = await make_worker("a")
    room = Room(worker, "room")
    await current(room)
    history = worker.keys.of_room("room")[3]
    await worker.client.call("SET", history, "text")
    outcomes = await room.publish([room.publication("ann") for _ in range(3)], together=True)
    assert [type(outcome) for outcome in outcomes] == [ScriptFailed] * 3
    assert "WRONGTYPE" in caplog.text
    await worker.client.call("DEL", history)
    (outcome,) = await room.publish([room.publication("ann")], together=True)
    assert isinstance(outcome, Receipt)
    assert outcome.id == room.seen
    assert (await worker.presence.roster("room")).id == outcome.id


@real_redis
async def test_a_redis_without_memory_refuses_all_of_them(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    room = Room(worker, "room")
    await current(room)
    most = await worker.client.call("CONFIG", "GET", "maxmemory")
    policy = await worker.client.call("CONFIG", "GET", "maxmemory-policy")
    try:
        await worker.client.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await worker.client.call("CONFIG", "SET", "maxmemory", "1")
        outcomes = await room.publish([room.publication("ann") for _ in range(3)], together=True)
    finally:
        await worker.client.call("CONFIG", "SET", "maxmemory", most[1])
        await worker.client.call("CONFIG", "SET", "maxmemory-policy", policy[1])
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 3
    (outcome,) = await room.publish([room.publication("ann")], together=True)
    assert isinstance(outcome, Receipt)


@real_redis
async def test_each_room_of_a_call_has_its_own_fate(make_worker: MakeWorker, caplog: pytest.LogCaptureFixture) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    names = ["fine", "absent", "history", "broken", "presence", "taken", "lost", "unstored", "last"]
    rooms = {name: Room(a, name) for name in names}
    await a.bus.subscribe(names)
    for room in rooms.values():
        await room.join("ben")
        await current(room)
        await room.publish([room.publication("ben")], together=True)
    keys = {name: a.keys.of_room(name) for name in names}
    seen = rooms["history"].seen
    await a.client.call("XADD", keys["history"][3], f"{seen.epoch}-{seen.seq + 9}", "e", "x")
    await a.client.call("DEL", keys["broken"][0])
    await a.client.call("SET", keys["broken"][0], "text")
    await a.client.call("SET", keys["presence"][1], "text")
    await Room(b, "taken").join("ann", "ann0")
    await a.client.call("DEL", keys["lost"][0])

    sent: dict[str, list[asyncio.Future[Outcome]]] = {name: [] for name in names}
    for number in range(2):
        for name, room in rooms.items():
            to: tuple[str, ...] = ("ben",) if name in ("absent", "presence") else ()
            to = ("ben", "nobody") if name == "absent" and number else to
            sent[name].append(send(a, room.publication("ann", to=to, stored=name != "unstored")))
    outcomes = {name: await asyncio.gather(*its) for name, its in sent.items()}

    def ids(name: str) -> list[MessageId]:
        return [outcome.id for outcome in outcomes[name] if isinstance(outcome, Receipt)]

    for name in ("fine", "history", "unstored", "last"):
        assert [one.seq - rooms[name].seen.seq for one in ids(name)] == [1, 2], name
    # The error of one room is that of its messages alone.
    for name in ("broken", "presence"):
        assert [type(outcome) for outcome in outcomes[name]] == [ScriptFailed] * 2, name
    assert "WRONGTYPE" in caplog.text
    assert [type(outcome) for outcome in outcomes["absent"]] == [Receipt, Refused]
    assert [type(outcome) for outcome in outcomes["taken"]] == [Replaced] * 2
    # A new epoch, and no hole in it.
    assert [one.seq for one in ids("lost")] == [1, 2]
    assert ids("lost")[0].epoch > rooms["lost"].seen.epoch
    for name in ("fine", "history", "last"):
        assert len((await a.bus.replay(name, rooms[name].seen)).events) == 2, name
    assert (await a.bus.replay("unstored", rooms["unstored"].seen)).lost


@real_redis
async def test_flushed_scripts_are_loaded_again_and_the_order_is_kept(
    make_worker: MakeWorker, redis_server: RedisServer
) -> None:
    worker = await make_worker("a")
    room = Room(worker, "room")
    await current(room)
    start = room.seen.seq
    redis_server.client.script_flush()
    flushed = [send(worker, room.publication("ann", key=f"f{n}" if n % 7 == 0 else "")) for n in range(20)]
    # In later turns, while the scripts are loaded again.
    for _ in range(3):
        await asyncio.sleep(0)
        flushed += [send(worker, room.publication("ann")) for _ in range(5)]
    outcomes = await asyncio.gather(*flushed)
    seqs = [outcome.id.seq for outcome in outcomes if isinstance(outcome, Receipt)]
    assert seqs == list(range(start + 1, start + 36))


@real_redis
async def test_a_history_that_begins_when_the_scripts_are_loaded_again_has_a_time_to_live(
    make_worker: MakeWorker, redis_server: RedisServer
) -> None:
    worker = await make_worker("a")
    room = Room(worker, "room")
    await worker.bus.subscribe(["room"])
    await room.join("ann")
    history = worker.keys.of_room("room")[3]
    # By its end of life.
    await worker.client.call("DEL", history)
    redis_server.client.script_flush()
    await room.publish([room.publication("ann") for _ in range(2)], together=True)
    assert await worker.client.call("XLEN", history) == 2
    assert await worker.client.call("PTTL", history) > 0


@real_redis
async def test_a_lost_connection_leaves_no_message_without_an_outcome(
    make_worker: MakeWorker, redis_server: RedisServer
) -> None:
    worker, hears = await make_worker("a"), await make_worker("b")
    room = Room(worker, "room")
    await hears.bus.subscribe(["room"])
    await current(room)
    sent = []
    for turn in range(6):
        sent += [send(worker, room.publication("ann", b'{"n":%d}' % (turn * 5 + n))) for n in range(5)]
        if turn == 2:
            # Those that hear are of another type.
            assert redis_server.client.client_kill_filter(_type="normal", skipme=True)
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*sent)
    assert {type(outcome) for outcome in outcomes} <= {Receipt, OutcomeUnknown, Unavailable}
    (last,) = await room.publish([room.publication("ann", b'{"last":1}')], together=True)
    assert isinstance(last, Receipt)
    await hears.received.until(lambda events: events[-1].id == last.id)
    published = {event.id: event for event in hears.received.events if isinstance(event, Message)}
    assert [one.seq for one in published] == list(range(last.id.seq - len(published) + 1, last.id.seq + 1))
    for publication, outcome in enumerate(outcomes):
        if isinstance(outcome, Receipt):
            assert b'{"n":%d,' % publication in published[outcome.id].body


@pytest.mark.parametrize("backend", ["cluster"], indirect=True)
async def test_a_slot_moves_and_the_order_is_kept(make_worker: MakeWorker, redis_cluster: Cluster) -> None:
    worker, hears = await make_worker("a"), await make_worker("b")
    room = Room(worker, "moving")
    await hears.bus.subscribe(["moving"])
    await room.join("ann")
    await room.publish([room.publication("ann")], together=True)
    start = room.seen.seq
    slot = slot_of_tag("moving")
    owner = redis_cluster.owner(slot)
    target = next(node for node in redis_cluster.masters if node is not owner)
    sent: list[asyncio.Future[Outcome]] = []
    for node in (target, owner):
        moving = asyncio.ensure_future(asyncio.to_thread(redis_cluster.move_slot, slot, node))
        while not moving.done():
            sent += [send(worker, room.publication("ann")) for _ in range(5)]
            await asyncio.sleep(0.001)
        await moving
    outcomes = await asyncio.gather(*sent)
    seqs = [outcome.id.seq for outcome in outcomes if isinstance(outcome, Receipt)]
    assert seqs == list(range(start + 1, start + 1 + len(sent)))
