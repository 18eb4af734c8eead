"""Which members have a subject, and how their records are kept."""

import asyncio
from collections.abc import Sequence

from relay.backend.subjects import Place
from relay.gateways.native.codec import NativeCodec
from relay.rooms.member import Member
from relay.rooms.subjects import SubjectTracker
from relay.tasks import BackgroundTasks
from tests.unit.rooms.world import FakeConnection


class Record:
    """Notes the calls, and whether somebody waits for the next one."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Place]] = []
        self.noted = asyncio.Event()

    def note(self, subject: str, place: Place) -> None:
        self.calls.append(("note", subject, place))
        self.noted.set()

    def forget(self, subject: str, place: Place) -> None:
        self.calls.append(("forget", subject, place))

    async def find(self, subject: str, limit: int) -> Sequence[Place]:
        return [Place("room", subject)][:limit]


def member(room: str, peer: str = "p") -> Member:
    return Member(FakeConnection(), NativeCodec(), room, peer)


async def test_a_member_is_recorded_until_it_leaves() -> None:
    record, tasks = Record(), BackgroundTasks()
    tracker = SubjectTracker(record, tasks)
    one = member("room")
    tracker.begin(one, "ann")
    assert len(tracker) == 1
    tracker.end(one)
    tracker.end(one)
    assert [(name, subject, *place) for name, subject, place in record.calls] == [
        ("note", "ann", "room", "p"),
        ("forget", "ann", "room", "p"),
    ]
    assert list(await tracker.find("ann", 5)) == [("room", "ann")]
    await tasks.cancel()


async def test_a_member_without_a_subject_costs_nothing() -> None:
    record, tasks = Record(), BackgroundTasks()
    tracker = SubjectTracker(record, tasks)
    one = member("room")
    tracker.begin(one, "")
    tracker.end(one)
    assert (record.calls, len(tasks)) == ([], 0)


async def test_all_records_are_renewed_in_turn_until_there_are_none() -> None:
    record, tasks = Record(), BackgroundTasks()
    tracker = SubjectTracker(record, tasks, pause=0)
    members = [member(f"room{number}") for number in range(100)]
    for one in members:
        tracker.begin(one, "ann")
    record.calls.clear()
    async with asyncio.timeout(10):
        while len(record.calls) < 250:
            record.noted.clear()
            await record.noted.wait()
        assert {place.room for _, _, place in record.calls[:100]} == {one.room for one in members}
        for one in members:
            tracker.end(one)
        while len(tasks):
            await asyncio.sleep(0)
    later = member("later")
    tracker.begin(later, "ben")
    assert len(tasks) == 1
    await tasks.cancel()


async def test_names_of_another_kind_are_no_subjects_and_may_be_kept_and_noted_again() -> None:
    record, tasks = Record(), BackgroundTasks()
    tracker = SubjectTracker(record, tasks, kind="place")
    one, two = member("room"), member("room", "q")
    tracker.begin(one, "ann")
    tracker.begin(two, "ben")
    tracker.note_again()
    tracker.end(one, keep=True)
    tracker.end(two)
    assert [(name, subject) for name, subject, _ in record.calls] == [
        ("note", "\0place ann"), ("note", "\0place ben"), ("note", "\0place ann"), ("note", "\0place ben"),
        ("note", "\0place ann"), ("forget", "\0place ben"),
    ]  # fmt: skip
    await tasks.cancel()
