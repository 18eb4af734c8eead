"""The contract of `DeliveredPositions` for every backend, and clients without a cursor whose worker is killed."""

import asyncio

import pytest
from msgspec import structs

from relay.backend.positions import DeliveredPosition
from relay.backend.presence import JoinAttempt, PresenceEntry
from relay.config import Settings
from relay.gateways.native.gateway import NativeCodec
from relay.model.commands import Publish, Tracking
from relay.model.envelope import MessageId
from relay.rooms.claim import Claim
from relay.rooms.connection import Transfer
from relay.rooms.member import Member
from relay.rooms.worker import Worker
from tests.conftest import new_prefix
from tests.contract.conftest import FakeWorker, MakeWorker
from tests.fleet import RedisServer
from tests.unit.rooms.world import FakeConnection


async def join(worker: FakeWorker, *, offered: str = "", fresh: str = "f1") -> tuple[PresenceEntry, MessageId]:
    joined = await worker.presence.join(JoinAttempt(room="room", peer="peer", offered=offered, fresh=fresh))
    return PresenceEntry("room", "peer", joined.generation, fresh, tracked=True), joined.id


async def note(worker: FakeWorker, entry: PresenceEntry, position: MessageId) -> None:
    await worker.positions.note([DeliveredPosition(entry.room, entry.peer, entry.generation, position)])


async def test_a_position_can_be_read_by_every_worker(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    entry, joined = await join(a)
    assert await b.positions.noted("room", "peer") is None
    await note(a, entry, joined)
    assert await b.positions.noted("room", "peer") == joined
    await note(a, entry, MessageId(joined.epoch, joined.seq + 5))
    assert await b.positions.noted("room", "peer") == (joined.epoch, joined.seq + 5)
    assert await b.positions.noted("room", "other") is None
    assert await b.positions.noted("other", "peer") is None


async def test_a_position_stays_while_the_member_is_held_and_ends_with_it(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    entry, joined = await join(worker)
    await note(worker, entry, joined)
    assert await worker.presence.leave(entry, hold=5)
    assert await worker.positions.noted("room", "peer") == joined
    assert await worker.presence.leave(entry)
    assert await worker.positions.noted("room", "peer") is None
    # A round that was on its way cannot bring it back.
    await note(worker, entry, joined)
    assert await worker.positions.noted("room", "peer") is None


async def test_a_worker_cannot_overwrite_the_position_of_a_newer_connection(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    old, joined = await join(a)
    await note(a, old, joined)
    new, later = await join(b, offered="f1", fresh="f2")
    assert await b.positions.noted("room", "peer") == joined
    await note(b, new, later)
    await note(a, old, joined)
    assert await b.positions.noted("room", "peer") == later


async def test_positions_of_a_dead_worker_end_when_a_survivor_ends_the_memberships(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a", duration=0.2), await make_worker("b")
    await a.leases.beat()
    entry, joined = await join(a)
    await note(a, entry, joined)
    async with asyncio.timeout(5):
        while not (status := await b.leases.beat()).dead:
            await asyncio.sleep(0.05)
    (held,) = [member async for batch in b.leases.adopt(status.dead[0]) for member in batch]
    assert await b.positions.noted("room", "peer") == joined
    assert await b.presence.leave(PresenceEntry("room", "peer", held.generation, tracked=True))
    assert await b.positions.noted("room", "peer") is None


async def test_positions_in_redis_have_a_time_to_live(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    entry, joined = await join(worker)
    await note(worker, entry, joined)
    await worker.positions.renew(["room", "none"])
    if worker.client is not None:
        key = worker.keys.positions("room")
        assert 55_000 < await worker.client.call("PTTL", key) <= 60_000
        await worker.client.call("PEXPIRE", key, 1000)
        await worker.positions.renew(["room"])
        assert 55_000 < await worker.client.call("PTTL", key) <= 60_000
        # Lost, as by FLUSHALL: the worker does not know a position any more.
        await worker.client.call("DEL", key)
        assert await worker.positions.noted("room", "peer") is None


# Whole workers.


class Client(FakeConnection):
    """A connection whose client reads up to `read` frames, or all of them."""

    read: int | None = None

    def transfer(self) -> Transfer:
        return Transfer(len(self.frames), len(self.frames) if self.read is None else min(self.read, len(self.frames)))

    @property
    def texts(self) -> list[int]:
        return [event["n"] for event in self.sent if "n" in event]


async def ready(worker: Worker) -> Worker:
    async with asyncio.timeout(10):
        while not worker.ready:
            await asyncio.sleep(0.01)
    return worker


async def kill(worker: Worker) -> None:
    """End a worker without any of the things that a worker does when it stops."""
    await worker._parts.tasks.cancel()
    await worker._stack.aclose()


async def enter(worker: Worker, peer: str, *, offered: str = "", tracking: Tracking = Tracking.NONE) -> Member:
    member = Member(Client(), NativeCodec(), "room", peer)
    await worker.join(member, Claim(offered), since=None, tracking=tracking)
    return member


async def say(worker: Worker, member: Member, *numbers: int) -> None:
    for number in numbers:
        sent = asyncio.get_running_loop().create_future()
        worker.publish(member, Publish(b'{"n":%d}' % number), sent.set_result)
        await sent


async def heard(member: Member, numbers: list[int]) -> None:
    async with asyncio.timeout(10):
        while member.connection.texts != numbers:
            await asyncio.sleep(0.01)


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return Settings(redis_url=redis_url, redis_prefix=new_prefix(), worker_lease=1, reconnect_grace=10)


async def test_after_a_killed_worker_a_client_gets_the_events_that_it_may_lack(settings: Settings) -> None:
    killed, other = Worker(settings), Worker(settings)
    await killed.__aenter__()
    async with other:
        await ready(killed)
        await ready(other)
        speaker = await enter(other, "speaker")
        listener = await enter(killed, "listener", tracking=Tracking.WRITTEN)
        await say(other, speaker, 1, 2, 3)
        await heard(listener, [1, 2, 3])
        await killed._parts.positions.round()
        # The rest is written by the worker, and never gets to the client.
        listener.connection.read = len(listener.connection.frames)
        await say(other, speaker, 4, 5)
        await heard(listener, [1, 2, 3, 4, 5])
        await killed._parts.positions.round()
        await kill(killed)
        await say(other, speaker, 6)
        welcome = listener.connection.sent[0]
        again = await enter(other, "listener", offered=welcome["resume"], tracking=Tracking.WRITTEN)
        assert again.connection.texts == [4, 5, 6]
        assert again.connection.sent[0]["recovered"] is True
        # The position is not ahead of the events that the client has got since, and follows when it gets more.
        await other._parts.positions.round()
        await say(other, speaker, 7)
        await heard(again, [4, 5, 6, 7])
        third = await enter(other, "listener", offered=again.connection.sent[0]["resume"], tracking=Tracking.WRITTEN)
        assert third.connection.texts == [7]


async def test_a_client_whose_worker_is_killed_at_once_is_recovered(settings: Settings) -> None:
    killed, other = Worker(settings), Worker(settings)
    await killed.__aenter__()
    async with other:
        await ready(killed)
        await ready(other)
        speaker = await enter(other, "speaker")
        listener = await enter(killed, "listener", tracking=Tracking.ACKNOWLEDGED)
        async with asyncio.timeout(5):
            while await other._parts.backend.positions.noted("room", "listener") is None:
                await asyncio.sleep(0.01)
        await say(other, speaker, 1, 2)
        await kill(killed)
        welcome = listener.connection.sent[0]
        again = await enter(other, "listener", offered=welcome["resume"], tracking=Tracking.ACKNOWLEDGED)
        assert again.connection.texts == [1, 2]


async def test_a_position_ends_when_its_member_leaves_or_is_not_held_any_more(settings: Settings) -> None:
    async with Worker(structs.replace(settings, reconnect_grace=0.2)) as worker:
        await ready(worker)
        positions = worker._parts.backend.positions
        for hold in (False, True):
            listener = await enter(worker, "listener", tracking=Tracking.WRITTEN)
            async with asyncio.timeout(5):
                while await positions.noted("room", "listener") is None:
                    await asyncio.sleep(0.01)
            await worker.leave(listener, hold=hold)
            async with asyncio.timeout(5):
                while await positions.noted("room", "listener") is not None:
                    await asyncio.sleep(0.01)


async def test_acknowledged_positions_count_and_nothing_else(settings: Settings) -> None:
    async with Worker(settings) as worker:
        await ready(worker)
        speaker = await enter(worker, "speaker")
        listener = await enter(worker, "listener", tracking=Tracking.WRITTEN)
        await say(worker, speaker, 1, 2, 3)
        await heard(listener, [1, 2, 3])
        ids = [MessageId.parse(text) for text in listener.connection.ids]
        worker.acknowledge(listener, ids[0])
        await worker._parts.positions.round()
        assert await worker._parts.backend.positions.noted("room", "listener") == ids[0]
        # An id that the room has not reached counts as the newest one, and an older one as nothing.
        worker.acknowledge(listener, MessageId(ids[0].epoch, 10**9))
        worker.acknowledge(listener, ids[0])
        await worker._parts.positions.round()
        assert await worker._parts.backend.positions.noted("room", "listener") == ids[2]


async def test_a_client_is_told_that_it_is_not_recovered_when_redis_lost_the_position(settings: Settings) -> None:
    async with Worker(settings) as worker:
        await ready(worker)
        first = await enter(worker, "listener", tracking=Tracking.WRITTEN)
        await worker._parts.positions.round()
        client = worker._parts.backend.positions._client
        await client.call("DEL", worker._parts.backend.positions._keys.positions("room"))
        again = await enter(worker, "listener", offered=first.connection.sent[0]["resume"], tracking=Tracking.WRITTEN)
        welcome = again.connection.sent[0]
        assert (welcome["resumed"], welcome["recovered"], welcome["reason"]) == (True, False, "epoch")
        # A membership that ended meanwhile is a new one.
        await worker.leave(again, hold=False)
        third = await enter(worker, "listener", offered=welcome["resume"], tracking=Tracking.WRITTEN)
        assert third.connection.sent[0]["reason"] == "not_resumed"


async def test_members_that_do_not_ask_cost_nothing(settings: Settings) -> None:
    async with Worker(settings) as worker:
        await ready(worker)
        speaker, other = await enter(worker, "speaker"), await enter(worker, "other")
        await say(worker, speaker, 1)
        await heard(other, [1])
        assert len(worker._parts.positions) == 0
        assert worker._parts.positions._task is None
        assert (
            await worker._parts.backend.positions._client.call(
                "EXISTS", worker._parts.backend.positions._keys.positions("room")
            )
            == 0
        )


async def test_positions_go_on_in_the_new_epoch_after_redis_lost_everything(own_redis: RedisServer) -> None:
    settings = Settings(redis_url=own_redis.url, worker_lease=1, reconnect_grace=10)
    killed, other = Worker(settings), Worker(settings)
    await killed.__aenter__()
    async with other:
        await ready(killed)
        await ready(other)
        speaker = await enter(other, "speaker")
        listener = await enter(killed, "listener", tracking=Tracking.WRITTEN)
        await say(other, speaker, 1)
        await heard(listener, [1])
        await killed._parts.positions.round()
        own_redis.client.flushall()
        # All workers announce their members again.
        async with asyncio.timeout(10):
            while (await other.roster("room")).count < 2:
                await asyncio.sleep(0.02)
        await say(other, speaker, 2)
        await heard(listener, [1, 2])
        await killed._parts.positions.round()
        await kill(killed)
        await say(other, speaker, 3)
        again = await enter(other, "listener", offered=listener.connection.sent[0]["resume"], tracking=Tracking.WRITTEN)
        assert again.connection.sent[0]["recovered"] is True
        assert again.connection.texts == [3]
