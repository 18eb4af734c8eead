"""The backend over a Redis in which a key has the wrong type or foreign fields, or which refuses to write."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from relay.backend.presence import HeldMember, JoinAttempt, JoinResult, PresenceEntry
from relay.model.envelope import MembershipVersion, MessageId
from relay.model.errors import OutcomeUnknown, RelayError, Unavailable
from relay.model.events import Message
from tests.contract.conftest import FakeWorker, MakeWorker

over_redis = pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
real_redis = pytest.mark.parametrize("backend", ["redis"], indirect=True)
"""fakeredis hangs up when a script fails, and has no memory limit."""

META, PRESENCE, REPEATS, HISTORY, OPTIONS = range(5)


async def join(worker: FakeWorker, peer: str = "peer", room: str = "room") -> JoinResult:
    return await worker.presence.join(JoinAttempt(room=room, peer=peer, offered="", fresh="f1"))


async def claim_of(worker: FakeWorker) -> dict[str, Any]:
    """Join, and return the arguments by which a publication takes the fast path."""
    joined = await join(worker)
    version = MembershipVersion(joined.generation, joined.id.epoch)
    return {"sender": "peer", "generation": joined.generation, "version": version, "seen": joined.id}


async def spoil(worker: FakeWorker, key: int, room: str = "room") -> str:
    """Make a key of the room a string, which no script can work with."""
    name: str = worker.keys.of_room(room)[key]
    await worker.client.call("SET", name, "text")
    return name


async def newest(worker: FakeWorker) -> MessageId:
    return (await worker.presence.roster("room")).id


def assert_own_words(error: RelayError) -> None:
    for word in ("WRONGTYPE", "script", "lua", "relay:{", "@", "sha"):
        assert word.lower() not in error.text.lower()


@real_redis
@pytest.mark.parametrize("fast", [True, False])
async def test_a_history_ahead_of_the_counter_is_begun_anew(make_worker: MakeWorker, fast: bool) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["room"])
    claim = await claim_of(worker)
    before = await newest(worker)
    await worker.client.call("XADD", worker.keys.of_room("room")[HISTORY], f"{before.epoch}-{before.seq + 9}", "e", "x")

    for number in (1, 2):
        receipt = await worker.publish("room", **claim, key="" if fast else f"k{number}")
        assert receipt.id == before._replace(seq=before.seq + number)
    replay = await worker.bus.replay("room", before)
    assert ([event.id.seq - before.seq for event in replay.events], replay.lost) == ([1, 2], "")


@real_redis
@pytest.mark.parametrize(
    ("key", "fast"), [(META, True), (META, False), (HISTORY, True), (HISTORY, False), (REPEATS, False)]
)
async def test_a_publication_that_fails_inside_redis_leaves_no_hole_and_no_key(
    make_worker: MakeWorker, fast: bool, key: int
) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["room"])
    claim = await claim_of(worker)
    before = await newest(worker)
    stored = await worker.client.call("DUMP", worker.keys.of_room("room")[META])
    name = await spoil(worker, key)

    with pytest.raises(OutcomeUnknown) as raised:
        await worker.publish("room", **claim, key="" if fast else "k")
    assert_own_words(raised.value)

    await worker.client.call("DEL", name)
    if key == META:
        await worker.client.call("RESTORE", name, 0, stored)
    again = await worker.publish("room", **claim, key="" if fast else "k")
    assert (again.id, again.repeat) == (before._replace(seq=before.seq + 1), False)
    await worker.received.until(
        lambda events: [event.id for event in events if isinstance(event, Message)] == [again.id]
    )


@real_redis
async def test_a_key_is_remembered_only_after_its_message_is_out(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["room"])
    await worker.client.call("ACL", "SETUSER", "silent", "on", "nopass", "~*", "&*", "+@all", "-publish")
    await worker.client.call("AUTH", "silent", "")
    try:
        with pytest.raises(OutcomeUnknown) as raised:
            await worker.publish("room", key="k")
        assert_own_words(raised.value)
    finally:
        await worker.client.call("AUTH", "default", "")
        await worker.client.call("ACL", "DELUSER", "silent")
    receipt = await worker.publish("room", key="k")
    assert not receipt.repeat
    await worker.received.until(
        lambda events: [event.id for event in events if isinstance(event, Message)] == [receipt.id]
    )


@real_redis
@pytest.mark.parametrize("key", [META, PRESENCE, HISTORY])
async def test_a_join_that_fails_inside_redis_makes_no_member(make_worker: MakeWorker, key: int) -> None:
    worker = await make_worker("a")
    await join(worker, "first")
    await join(worker, "second")
    await worker.bus.subscribe(["room"])
    name = worker.keys.of_room("room")[key]
    stored = await worker.client.call("DUMP", name)
    await spoil(worker, key)
    with pytest.raises(OutcomeUnknown) as raised:
        await join(worker)
    assert_own_words(raised.value)
    await worker.client.call("RESTORE", name, 0, stored, "REPLACE")
    assert (await worker.presence.roster("room")).count == 2
    joined = await join(worker)
    assert (joined.resumed, joined.id.seq) == (False, 3)
    await worker.received.until(lambda events: [event.id for event in events] == [joined.id])


@real_redis
async def test_a_leave_that_fails_inside_redis_can_be_repeated(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["room"])
    joined = await join(worker)
    name = await spoil(worker, HISTORY)
    entry = PresenceEntry("room", "peer", joined.generation)
    with pytest.raises(OutcomeUnknown):
        await worker.presence.leave(entry)
    assert (await worker.presence.roster("room")).count == 1
    await worker.client.call("DEL", name)
    assert await worker.presence.leave(entry)
    await worker.received.until(lambda events: [event.id.seq for event in events] == [1, 2])


@real_redis
@pytest.mark.parametrize("ask", ["roster", "replay"])
async def test_reading_a_room_that_cannot_be_read_says_so_in_own_words(make_worker: MakeWorker, ask: str) -> None:
    worker = await make_worker("a")
    last = (await worker.publish("room")).id
    await worker.publish("room")
    await spoil(worker, PRESENCE)
    await spoil(worker, HISTORY)
    with pytest.raises(RelayError) as raised:
        await (worker.presence.roster("room") if ask == "roster" else worker.bus.replay("room", last))
    assert_own_words(raised.value)


@real_redis
async def test_one_bad_room_does_not_keep_the_others_from_being_announced(make_worker: MakeWorker, caplog) -> None:
    worker = await make_worker("a")
    await spoil(worker, PRESENCE, "bad")
    entries = [PresenceEntry(room, "peer", 1, "f1") for room in ("bad", "good")]
    assert list(await worker.presence.announce(entries)) == []
    assert (await worker.presence.roster("good")).count == 1
    assert "1 members could not be announced" in caplog.text


@real_redis
async def test_one_bad_room_does_not_keep_the_others_from_being_adopted(make_worker: MakeWorker, caplog) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.leases.beat()
    for room in ("bad", "good"):
        await join(a, room=room)
    await spoil(a, PRESENCE, "bad")
    await a.leases.retire()
    lease = str(a.lease)
    async with asyncio.timeout(5):
        while lease not in (await b.leases.beat()).dead:
            await asyncio.sleep(0.05)
    held: list[HeldMember] = [member async for batch in b.leases.adopt(lease) for member in batch]
    assert [member.room for member in held] == ["good"]
    assert "room bad" in caplog.text


@real_redis
async def test_all_members_of_a_large_room_are_adopted(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.leases.beat()
    peers = [f"peer-{number}" for number in range(1300)]
    await a.presence.announce([PresenceEntry("room", peer, 1, "f1") for peer in peers])
    await a.leases.retire()
    lease = str(a.lease)
    async with asyncio.timeout(5):
        while lease not in (await b.leases.beat()).dead:
            await asyncio.sleep(0.05)
    held = [member async for batch in b.leases.adopt(lease) for member in batch]
    assert sorted({member.peer for member in held}) == sorted(peers)
    assert {member.generation for member in held} == {1}


# The meta key holds the epoch and the counter, and nothing else; rules of a room have a key of their own.


async def walk(worker: FakeWorker) -> list[tuple[int, ...]]:
    """Do everything that is possible with a room, and return the ids' sequence numbers."""
    claim = await claim_of(worker)
    ids = [
        claim["seen"],
        (await worker.publish("room", **claim)).id,
        (await worker.publish("room", **claim, key="k")).id,
    ]
    again = await worker.publish("room", **claim, key="k")
    assert again.repeat
    ids.append((await worker.publish("room", **claim, to=("peer",))).id)
    ids.append((await join(worker, "other")).id)
    # The other's join has raised the version, so that this one is counted on the fast path, and taken back.
    ids.append((await worker.publish("room", **claim)).id)
    entry = PresenceEntry("room", "peer", claim["generation"], "f1")
    assert not await worker.presence.announce([entry])
    assert await worker.presence.leave(entry, hold=30)
    assert await worker.presence.leave(entry)
    with suppress(RelayError):
        await worker.publish("room", **claim)
    replay = await worker.bus.replay("room", ids[0])
    assert [event.id for event in replay.events] == [*ids[1:], replay.id]
    for _ in range(2):  # the first one finds the keys that few rooms have
        await worker.leases.touch({"room": ""})
    return [message_id.seq for message_id in [*ids, replay.id]]


@over_redis
@pytest.mark.parametrize("key", [META, OPTIONS])
async def test_foreign_fields_disturb_nothing(make_worker: MakeWorker, key: int) -> None:
    worker = await make_worker("a")
    name = worker.keys.of_room("room")[key]
    await worker.client.call("HSET", name, "cap", 5)
    assert await walk(worker) == [1, 2, 3, 4, 5, 6, 7]
    assert await worker.client.call("HGET", name, "cap") == b"5"
    assert await worker.client.call("PTTL", name) > 0


@over_redis
async def test_the_scripts_write_an_epoch_and_one_counter_and_leave_the_options_alone(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    meta, _, _, _, options, _ = worker.keys.of_room("room")
    for _ in range(2):
        await walk(worker)
        fields = await worker.client.call("HGETALL", meta)
        names = fields[::2]
        assert (len(names), names.count(b"e")) == (2, 1)
        assert all(name == b"e" or name.isdigit() for name in names)
        await worker.presence.leave(PresenceEntry("room", "other", 0, "f1"))
        # A state that is older than a seen event: a new epoch begins.
        await worker.bus.replay("room", MessageId(2**42, 1))
        await worker.client.call("DEL", worker.keys.of_room("room")[PRESENCE], meta)
    assert await worker.client.call("EXISTS", options) == 0


@real_redis
async def test_a_redis_without_memory_refuses_before_anything_has_happened(make_worker: MakeWorker) -> None:
    """The guarantee on which `Unavailable` rests: of a script, Redis refuses only the first write."""
    worker = await make_worker("a")
    claim = await claim_of(worker)
    before = await newest(worker)
    await worker.client.call("CONFIG", "SET", "maxmemory", "1")
    try:
        for key in ("", "k"):
            with pytest.raises(Unavailable) as raised:
                await worker.publish("room", **claim, key=key)
            assert raised.value.text == Unavailable().text
            assert raised.value.report.startswith("Redis has no memory left (")
            assert "OOM command not allowed" in raised.value.report
        with pytest.raises(Unavailable):
            await join(worker, "other")
    finally:
        await worker.client.call("CONFIG", "SET", "maxmemory", "0")
    assert (await worker.publish("room", **claim, key="k")).id == before._replace(seq=before.seq + 1)
