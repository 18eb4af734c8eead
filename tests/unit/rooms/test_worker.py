"""The worker as the edges see it, over memory."""

import asyncio
import contextlib
import gc
from collections.abc import Awaitable
from dataclasses import replace

import pytest

from relay.config import Settings
from relay.gateways.native.gateway import NativeCodec
from relay.identity.grants import ADMIN, GUEST, Grants, RoomGrant, TokenLimits
from relay.model.commands import Publish
from relay.model.envelope import BEFORE_ALL
from relay.model.errors import BadFrame, CloseReason, Refused, RelayError, Unavailable
from relay.model.rules import RuleChange
from relay.rooms.claim import Claim
from relay.rooms.member import Member
from relay.rooms.observer import Observer, Sight
from relay.rooms.worker import Worker
from tests.unit.rooms.world import FakeConnection


class FakeClient:
    def __init__(self, worker: Worker, *, goes: bool = True) -> None:
        self._worker, self._goes = worker, goes
        self.closed: list[CloseReason] = []
        worker.clients.add(self)

    def close_gracefully(self, reason: CloseReason, *, now: bool = False) -> None:
        self.closed.append(reason)
        if self._goes:
            self._worker.clients.remove(self)


async def test_no_room_has_a_reserved_word_as_its_name() -> None:
    async with Worker(Settings(), reserved_words={"health"}) as worker:
        for room, code in (("health", "bad_room"), ("healthy", ""), ("Health", "")):
            assert await code_of(worker.publish_from_server(room, b"{}")) == code
            assert await code_of(worker.roster(room)) == code
            member = Member(FakeConnection(), NativeCodec(), room, "ann")
            assert await code_of(worker.join(member, Claim(), since=None)) == code


async def code_of(work: Awaitable[object]) -> str:
    try:
        await work
    except Refused as error:
        return error.code
    return ""


async def join(worker: Worker, peer: str, *, room: str = "room", **options) -> Member:
    member = Member(FakeConnection(), NativeCodec(), room, peer, **options)
    await worker.join(member, Claim(), since=None)
    return member


async def publish(worker: Worker, member: Member):
    outcome: asyncio.Future = asyncio.get_running_loop().create_future()
    worker.publish(member, Publish(b"{}"), outcome.set_result)
    return await outcome


async def test_a_worker_is_ready_from_its_opening_to_its_closing() -> None:
    worker = Worker(Settings())
    assert (worker.ready, worker.accepts_clients) == (False, False)
    async with worker:
        await worker.wait_until_ready()
        assert (worker.ready, worker.accepts_clients) == (True, True)
    assert (worker.ready, worker.accepts_clients) == (False, False)


async def test_waiting_for_a_worker_that_does_not_become_ready_ends(monkeypatch) -> None:
    monkeypatch.setattr("relay.rooms.worker._START_TIMEOUT", 0.05)
    async with asyncio.timeout(5):
        await Worker(Settings()).wait_until_ready()


async def test_health_counts_rooms_and_connections() -> None:
    async with Worker(Settings(worker_id="w1")) as worker:
        worker.admit("here", "native")
        await join(worker, "a")
        health = worker.health()
        assert (health.ready, health.worker, health.draining) == (True, "w1", False)
        assert (health.rooms, health.connections, set(health.checks)) == (
            1,
            1,
            {"bus", "heartbeat", "memory", "draining"},
        )
        assert all(check.ok for check in health.checks.values())
        assert worker.metrics.of("native").connections == 1


async def test_a_worker_without_a_name_is_called_after_its_process() -> None:
    assert Worker(Settings()).id.rpartition("-")[2].isdigit()


async def test_a_worker_admits_clients_up_to_its_limit_while_it_accepts_any() -> None:
    async with Worker(Settings(max_connections=1)) as worker:
        ticket = worker.admit("here", "native")
        assert worker.health().connections == 1
        with pytest.raises(Refused, match="worker_full"):
            worker.admit("here", "native")
        ticket.release()
        await worker.drain()
        with pytest.raises(Refused, match="unavailable"):
            worker.admit("here", "native")


async def test_members_join_publish_and_leave() -> None:
    async with Worker(Settings()) as worker:
        a, b = await join(worker, "a"), await join(worker, "b")
        receipt = await publish(worker, a)
        delivered = asyncio.Event()
        worker.when_delivered("room", receipt.id, delivered.set)
        async with asyncio.timeout(5):
            await delivered.wait()
        assert b.connection.ids == [str(receipt.id)]
        assert worker.newest_id(a) == receipt.id
        assert (await worker.roster("room")).count == 2
        assert (await worker.list_rooms()).rooms == [("room", 2)]
        assert await worker.detect("room", "elsewhere")
        await worker.leave(a, hold=False)
        await worker.leave(b, hold=True)
        assert [(one.peer, one.held) for one in (await worker.roster("room")).members] == [("b", True)]


async def test_the_newest_id_includes_joins_that_were_not_sent_yet() -> None:
    async with Worker(Settings()) as worker:
        watcher = await join(worker, "a", presence=True)
        other = await join(worker, "b")
        await asyncio.sleep(0)
        assert worker.newest_id(watcher) == other.since
        assert [event.get("joined") for event in watcher.connection.sent] == [None, ["b"]]
        assert worker.newest_id(watcher) == other.since
        await worker.leave(other, hold=False)
        await worker.leave(watcher, hold=False)
        assert worker.newest_id(watcher) == watcher.since


async def test_a_server_publishes_readable_envelopes() -> None:
    async with Worker(Settings()) as worker:
        member = await join(worker, "a")
        await asyncio.sleep(0)
        await worker.publish_from_server("room", b'{"n":1}')
        await asyncio.sleep(0)
        assert member.connection.sent[1]["n"] == 1
        with pytest.raises(BadFrame):
            await worker.publish_from_server("room", b"{")


async def test_a_client_publishes_from_outside_to_as_many_new_rooms_as_it_may_open() -> None:
    user = Grants(subject="ann", rooms=(RoomGrant("*"),))
    async with Worker(Settings(new_rooms_per_address=2)) as worker:

        async def post(room: str, envelope: bytes = b"{}") -> str:
            return await code_of(worker.publish_from_server(room, envelope, "ann", grants=user, address="1.2.3.4"))

        assert await post("none", b'{"to":"nobody"}') == "no_such_peer"
        assert [await post(room) for room in ("r1", "r2", "r1", "r3")] == ["", "", "", "too_many_new_rooms"]
        assert [one.__class__.__name__ for one in await worker.publish_to_rooms(["r2", "r4"], b"{}", "ann", grants=user,
                address="1.2.3.4")] == ["Receipt", "Refused"]  # fmt: skip
        assert await code_of(worker.publish_from_server("r5", b"{}")) == ""


async def test_a_client_publishes_from_outside_as_fast_as_over_a_connection() -> None:
    slow = Grants(subject="ann", rooms=(RoomGrant("*"),), limits=TokenLimits(message_rate=1))
    async with Worker(Settings()) as worker:

        async def post(grants: Grants) -> str:
            return await code_of(worker.publish_from_server("room", b"{}", "ann", grants=grants, address="1.2.3.4"))

        assert {await post(slow) for _ in range(10)} == {""}
        assert await post(slow) == "too_many_requests"
        assert await post(replace(slow, subject="bob")) == ""
        assert {await post(ADMIN) for _ in range(20)} == {""}


async def test_rules_of_a_room_that_does_not_exist_count_as_a_new_room() -> None:
    user = Grants(subject="ann", rooms=(RoomGrant("*"),))
    async with Worker(Settings(new_rooms_per_address=2)) as worker:

        async def make(room: str, grants: Grants = user) -> str:
            refused = await code_of(worker.count_room(room, grants, "1.2.3.4"))
            if not refused:
                await worker.rules.change(room, RuleChange(locked=True), create=True)
            return refused

        await join(worker, "a", room="there")
        rooms = ("there", "r1", "r1", "r2", "r3", "r2")
        assert [await make(room) for room in rooms] == ["", "", "", "", "too_many_new_rooms", ""]
        assert await make("r4", ADMIN) == ""


async def test_draining_turns_the_worker_not_ready_first_and_then_closes_its_clients() -> None:
    async with Worker(Settings(drain_delay=0.05)) as worker:
        client = FakeClient(worker)
        draining = asyncio.create_task(worker.drain())
        await asyncio.sleep(0)
        assert (worker.ready, worker.accepts_clients, client.closed) == (False, True, [])
        await draining
        assert not worker.accepts_clients
        assert [reason.name for reason in client.closed] == ["going_away"]
        assert worker.health().draining


async def test_clients_that_do_not_go_are_logged(caplog) -> None:
    async with Worker(Settings(drain_delay=0, drain_timeout=0.1)) as worker:
        client = FakeClient(worker, goes=False)
        await worker.drain()
        assert "1 connections were not closed within drain-timeout" in caplog.text
        worker.clients.remove(client)


async def test_a_sessions_task_that_dies_is_logged(caplog) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async with Worker(Settings()) as worker:
        worker.spawn(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert "background task session died" in caplog.text


async def test_a_worker_whose_loop_died_is_not_ready_and_says_so(monkeypatch, caplog) -> None:
    async def die(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("relay.rooms.heartbeat.Heartbeat.beat", die)
    async with Worker(Settings()) as worker:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (worker.ready, worker.accepts_clients) == (False, False)
        assert not worker.health().checks["heartbeat"].ok
    assert "background task heartbeat died" in caplog.text


@pytest.mark.parametrize(
    ("failure", "cause"), [(Unavailable("away"), "unavailable: away"), (TimeoutError(), "no answer in time")]
)
async def test_a_lease_that_cannot_be_ended_is_logged(
    monkeypatch, caplog, failure: RelayError | TimeoutError, cause: str
) -> None:
    async def retire(_: object) -> None:
        raise failure

    monkeypatch.setattr("relay.backend.memory.presence.MemoryLeases.retire", retire)
    async with Worker(Settings()):
        pass
    assert f"the lease of this worker could not be ended ({cause})" in caplog.text


async def test_clients_are_sent_elsewhere_by_a_worker_that_stays_deaf(monkeypatch) -> None:
    made = {}

    def noted(basis, *, on_deaf):
        made["on_deaf"] = on_deaf
        return compose(basis, on_deaf=on_deaf)

    from relay.rooms.composition import compose

    monkeypatch.setattr("relay.rooms.worker.compose", noted)
    worker = Worker(Settings())
    client = FakeClient(worker)
    made["on_deaf"]()
    assert [reason.name for reason in client.closed] == ["going_away"]


async def test_a_hundred_members_that_left_are_freed_by_reference_counts_alone(monkeypatch) -> None:
    monkeypatch.setattr("relay.rooms.attempts._DELAYS", (0,))  # a refused join waits for a goodbye
    kinds = (Member, FakeConnection)

    def alive() -> int:
        return sum(type(one) in kinds for one in gc.get_objects())

    async def join_and_go(worker: Worker, number: int) -> None:
        member = await join(worker, f"p{number}", room=f"room{number % 7}", presence=number % 2 == 0)
        receipt = await publish(worker, member)
        worker.when_delivered(member.room, receipt.id, member.connection.frames.clear)
        with contextlib.suppress(Refused):
            await join(worker, f"p{number}", room=member.room)
        await worker.leave(member, hold=number % 3 == 0)

    async with Worker(Settings()) as worker:
        gc.collect()
        before = alive()  # objects that earlier tests have left behind
        gc.disable()
        try:
            for number in range(100):
                await join_and_go(worker, number)
            async with asyncio.timeout(5):
                while alive() > before:
                    await asyncio.sleep(0.01)
        finally:
            gc.enable()


async def test_an_observer_is_known_to_nobody_and_answered_like_a_member() -> None:
    async with Worker(Settings(observers_per_room=1)) as worker:
        observer = Observer(FakeConnection(), NativeCodec(), "room", Sight.MEMBER)
        await worker.observe(observer, key="k")
        assert (observer.connection.sent[0]["key"], worker.newest_id(observer)) == ("k", BEFORE_ALL)
        another = Observer(FakeConnection(), NativeCodec(), "room", Sight.COUNTS)
        assert await code_of(worker.observe(another)) == "too_many_observers"
        assert (await worker.list_rooms()).rooms == []
        member = await join(worker, "a")
        while len(observer.connection.sent) < 2:
            await asyncio.sleep(0)
        assert worker.newest_id(observer) == member.since
        worker.stop_observing(observer)
        worker.stop_observing(observer)
        await worker.observe(another)


async def test_messages_of_a_client_over_http_count_for_its_address() -> None:
    async with Worker(Settings(address_byte_rate=1_000_000)) as worker:
        large = b'{"x":"%b"}' % (b"x" * 600_000)

        async def outcome(address: str, grants: Grants = GUEST) -> str:
            return await code_of(worker.publish_from_server("room", large, "ann", grants=grants, address=address))

        assert [await outcome("here") for _ in range(2)] == ["", "too_fast"]
        assert await outcome("elsewhere") == ""
        assert [await outcome("here", ADMIN) for _ in range(2)] == ["", ""]
