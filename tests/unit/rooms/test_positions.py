"""Rounds of the position tracker, over positions in memory and connections whose clients read as the test says."""

import asyncio
import logging
from collections.abc import Sequence

import pytest

from relay.backend.positions import DeliveredPosition
from relay.metrics import Metrics
from relay.model.commands import Tracking
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.errors import Unavailable
from relay.rooms import positions as module
from relay.rooms.connection import Transfer
from relay.rooms.member import Member
from relay.rooms.positions import PositionTracker
from relay.tasks import BackgroundTasks


def at(number: int) -> MessageId:
    return MessageId(1, number)


class Link:
    """A connection; each event is one byte."""

    def __init__(self) -> None:
        self.written = self.received = 0
        self.closing = False

    def transfer(self) -> Transfer | None:
        return None if self.closing else Transfer(self.written, self.received)


class World:
    """Stands for the positions in the backend and for the room as well."""

    def __init__(self) -> None:
        self.now, self.newest = 0.0, at(0)
        self.records: dict[str, MessageId] = {}
        self.batches: list[int] = []
        self.renewed: list[list[str]] = []
        self.failures: list[Exception] = []
        self.tasks, self.metrics = BackgroundTasks(), Metrics()
        self.tracker = PositionTracker(self, self, self.tasks, ttl=30, clock=lambda: self.now, metrics=self.metrics)

    async def note(self, positions: Sequence[DeliveredPosition]) -> None:
        if self.failures:
            raise self.failures.pop()
        self.batches.append(len(positions))
        self.records.update({one.peer: one.id for one in positions})

    async def noted(self, room: str, peer: str) -> MessageId | None:
        return self.records.get(peer)

    async def renew(self, rooms: Sequence[str]) -> None:
        if self.failures:
            raise self.failures.pop()
        self.renewed.append(list(rooms))

    def newest_id(self, member: Member) -> MessageId:
        """As presence notices."""
        return self.newest

    def begin(self, peer: str = "p", tracking: Tracking = Tracking.WRITTEN, *, noted: bool = False) -> Member:
        member = Member(Link(), None, "room", peer)
        self.tracker.begin(member, tracking, position=self.newest, noted=noted)
        return member

    def write(self, *members: Member, arrives: bool = True) -> None:
        """Write one more event to members of the room."""
        self.newest = at(self.newest.seq + 1)
        for member in members:
            member.connection.written += 1
            if arrives:
                member.connection.received = member.connection.written


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(module, "_SETTLE", 0)
    # The tests call each round themselves.
    monkeypatch.setattr(PositionTracker, "_run", lambda self: asyncio.sleep(0))
    return World()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_first_position_is_noted_at_once_unless_it_is_known(world: World) -> None:
    world.newest = at(7)
    world.begin("fresh")
    world.begin("recovered", noted=True)
    await turns()
    assert world.records == {"fresh": at(7)}
    await world.tracker.round()
    assert world.batches == [1]


async def test_changed_positions_are_noted_in_one_batch(world: World) -> None:
    members = [world.begin(peer, noted=True) for peer in "abc"]
    world.write(*members)
    await world.tracker.round()
    assert world.records == dict.fromkeys("abc", at(1))
    await world.tracker.round()
    assert world.batches == [3]
    assert world.metrics.registry.get_sample_value("relay_noted_positions_total") == 3


async def test_bytes_that_have_not_arrived_are_not_noted(world: World) -> None:
    member = world.begin(noted=True)
    world.write(member)
    world.write(member, arrives=False)
    await world.tracker.round()
    assert world.records == {}
    # While more is written all the time, a position is noted when the bytes of its own round have arrived.
    world.write(member, arrives=False)
    member.connection.received = 2
    await world.tracker.round()
    assert world.records == {"p": at(2)}
    member.connection.received = 3
    await world.tracker.round()
    assert world.records == {"p": at(3)}


async def test_a_stalled_client_has_a_bounded_number_of_marks(world: World) -> None:
    member = world.begin(noted=True)
    for _ in range(module._MOST_MARKS + 5):
        world.write(member, arrives=False)
        await world.tracker.round()
    assert len(world.tracker._tracked[member].marks) == module._MOST_MARKS
    member.connection.received = member.connection.written
    await world.tracker.round()
    await world.tracker.round()
    assert world.records == {"p": world.newest}


async def test_a_closing_connection_drops_frames(world: World) -> None:
    member = world.begin(noted=True)
    world.write(member)
    member.connection.closing = True
    await world.tracker.round()
    world.write(member)
    await world.tracker.round()
    assert world.records == {}


async def test_acknowledged_members_are_not_asked_for_bytes(world: World) -> None:
    member = world.begin(tracking=Tracking.ACKNOWLEDGED, noted=True)
    world.write(member)
    await world.tracker.round()
    assert world.records == {}
    world.tracker.acknowledge(member, at(1))
    await world.tracker.round()
    assert world.records == {"p": at(1)}


async def test_the_first_acknowledgement_ends_the_counting_of_bytes(world: World) -> None:
    member = world.begin(noted=True)
    world.write(member)
    world.tracker.acknowledge(member, at(0))
    await world.tracker.round()
    assert world.records == {}
    world.tracker.acknowledge(Member(Link(), None, "room", "unknown"), at(1))
    world.tracker.acknowledge(member, at(99))
    await world.tracker.round()
    assert world.records == {"p": at(1)}


async def test_a_confirmed_position_is_noted_at_once_and_bytes_go_on_to_count(world: World) -> None:
    member = world.begin(noted=True)
    world.newest = at(2)
    world.tracker.confirm(member, at(1))
    await turns()
    assert world.records == {"p": at(1)}
    # An earlier one, and one that the room has not reached, change nothing and no more than that.
    world.tracker.confirm(member, at(1))
    await world.tracker.round()
    assert world.records == {"p": at(2)}
    assert world.batches == [1, 1]


async def test_a_failed_round_is_repeated(world: World, caplog: pytest.LogCaptureFixture) -> None:
    member = world.begin(noted=True)
    world.write(member)
    world.failures = [Unavailable("away")]
    caplog.set_level(logging.DEBUG)
    await world.tracker.round()
    assert "noting 1 delivered positions failed: unavailable: away" in caplog.text
    await world.tracker.round()
    assert world.records == {"p": at(1)}


async def test_unchanged_records_are_renewed_and_those_of_other_rooms_forgotten(world: World) -> None:
    member = world.begin(noted=True)
    world.now = 9.9
    await world.tracker.round()
    world.now = 10
    world.failures = [Unavailable("away")]
    await world.tracker.round()
    assert world.renewed == []
    await world.tracker.round()
    assert world.renewed == [["room"]]
    await world.tracker.round()
    assert len(world.renewed) == 1
    world.tracker.end(member)
    world.now = 100
    await world.tracker.round()
    assert len(world.renewed) == 1
    assert world.tracker._written == {}


async def test_a_member_that_has_left_is_not_tracked(world: World) -> None:
    member = world.begin(noted=True)
    world.write(member)
    world.tracker.end(member)
    world.tracker.end(member)
    assert len(world.tracker) == 0
    await world.tracker.round()
    assert world.records == {}
    assert await world.tracker.noted("room", "p") == BEFORE_ALL


async def test_the_task_runs_while_there_are_members_and_survives_a_bug(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_SETTLE", 0)
    monkeypatch.setattr(module, "_PERIOD", 0)
    world = World()
    member = world.begin(noted=True)
    world.failures = [ZeroDivisionError()]
    world.write(member)
    async with asyncio.timeout(5):
        while not world.records:
            await asyncio.sleep(0)
    assert "which is a bug" in caplog.text
    world.tracker.end(member)
    async with asyncio.timeout(5):
        while len(world.tasks):
            await asyncio.sleep(0)
    other = world.begin("q", noted=True)
    world.write(other)
    async with asyncio.timeout(5):
        while "q" not in world.records:
            await asyncio.sleep(0)
    await world.tasks.cancel()


async def test_after_a_loss_all_positions_are_noted_again(world: World) -> None:
    member = world.begin("p", noted=True)
    world.write(member)
    await world.tracker.round()
    world.records.clear()
    await world.tracker.round()
    assert world.records == {}
    world.tracker.note_again()
    await world.tracker.round()
    assert world.records == {"p": at(1)}


async def test_the_known_position_of_a_held_member_is_noted_when_it_ends() -> None:
    world = World()
    for peer, hold in (("held", True), ("gone", False), ("nothing new", True)):
        member = world.begin(peer, noted=True)
        if peer != "nothing new":
            world.write(member)
            world.tracker.acknowledge(member, world.newest)
        assert world.tracker.end(member, hold=hold)
        assert not world.tracker.end(member, hold=hold)
    async with asyncio.timeout(5):
        while len(world.tasks):
            await asyncio.sleep(0)
    assert world.records == {"held": at(1)}


async def test_a_round_of_many_members_leaves_turns_to_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PORTION", 10)
    members = [world.begin(f"p{number}", noted=True) for number in range(35)]
    world.write(*members)
    looks, in_turn = list[int](), 0
    newest = world.newest_id

    def look(member: Member) -> MessageId:
        nonlocal in_turn
        in_turn += 1
        return newest(member)

    monkeypatch.setattr(world, "newest_id", look)
    round_of_all = asyncio.ensure_future(world.tracker.round())
    while not round_of_all.done():
        await asyncio.sleep(0)
        looks.append(in_turn)
        in_turn = 0
    assert [one for one in looks if one] == [10, 10, 10, 5]
    assert len(world.records) == 35


async def test_a_member_that_ends_between_two_turns_of_a_round_is_not_noted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PORTION", 1)
    stays, gone = world.begin("stays", noted=True), world.begin("gone", noted=True)
    world.write(stays, gone)
    round_of_all = asyncio.ensure_future(world.tracker.round())
    await asyncio.sleep(0)
    world.tracker.end(gone)
    await round_of_all
    assert world.records == {"stays": at(1)}


async def test_the_room_that_was_written_first_is_renewed_first(world: World) -> None:
    first, second = Member(Link(), None, "first", "p"), Member(Link(), None, "second", "p")
    for member in (first, second):
        world.tracker.begin(member, Tracking.ACKNOWLEDGED, position=at(0), noted=True)
    world.now, world.newest = 5, at(1)
    world.tracker.acknowledge(first, at(1))
    await world.tracker.round()
    world.now = 10
    await world.tracker.round()
    world.now = 15
    await world.tracker.round()
    assert world.renewed == [["second"], ["first"]]
    assert list(world.tracker._written) == ["second", "first"]
