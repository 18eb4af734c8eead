"""Where the subjects of tokens are connected, over each backend."""

import asyncio
import itertools
import time

import pytest

from relay.backend.memory.subjects import MemorySubjects
from relay.backend.redis.subjects import RedisSubjects
from relay.backend.subjects import Place, Subjects
from tests.contract.conftest import FakeWorker, MakeWorker


def subjects_of(worker: FakeWorker, *, ttl: float = 60) -> Subjects:
    if worker.client is None or worker.keys is None:
        return MemorySubjects()
    return RedisSubjects(worker.client, worker.keys, worker.lease.worker, ttl=ttl)


async def test_places_are_found_in_order_and_as_many_as_wanted(make_worker: MakeWorker) -> None:
    subjects = subjects_of(await make_worker("a"))
    assert list(await subjects.find("ann", 10)) == []
    for room in ("c", "a%20b", "b"):
        subjects.note("ann", Place(room, "p1"))
    subjects.note("ann", Place("b", "p1"))
    subjects.note("ben", Place("b", "p2"))
    assert list(await subjects.find("ann", 10)) == [("a%20b", "p1"), ("b", "p1"), ("c", "p1")]
    assert list(await subjects.find("ann", 2)) == [("a%20b", "p1"), ("b", "p1")]
    assert list(await subjects.find("ben", 10)) == [("b", "p2")]


async def test_a_place_is_forgotten(make_worker: MakeWorker) -> None:
    subjects = subjects_of(await make_worker("a"))
    place = Place("room", "p")
    subjects.note("ann", place)
    subjects.forget("ann", place)
    subjects.forget("ann", place)
    subjects.forget("nobody", place)
    assert list(await subjects.find("ann", 10)) == []


async def test_any_text_is_a_subject(make_worker: MakeWorker) -> None:
    subjects = subjects_of(await make_worker("a"))
    names = ["ann@example.com", "a b", "é\n", "*", "x" * 255, "\ud800"]
    for number, name in enumerate(names):
        subjects.note(name, Place("room", str(number)))
    assert [list(await subjects.find(name, 10)) for name in names] == [
        [("room", str(number))] for number in range(len(names))
    ]


async def test_of_too_many_places_of_a_subject_the_oldest_are_dropped(
    make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for backend in ("memory", "redis"):
        monkeypatch.setattr(f"relay.backend.{backend}.subjects.MOST_PLACES", 3)
    # The estimate of Redis's clock may go back, by as much as a reply with its time is late.
    times = itertools.count(round(time.time() * 1000))
    monkeypatch.setattr(RedisSubjects, "_now", lambda *_: next(times))
    subjects = subjects_of(await make_worker("a"))
    for number in range(6):
        subjects.note("ann", Place(f"room{number}", "p"))
    assert [place.room for place in await subjects.find("ann", 10)] == ["room3", "room4", "room5"]


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_a_worker_that_a_client_has_left_does_not_remove_the_record_of_the_next_one(
    make_worker: MakeWorker,
) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    one, other, place = subjects_of(a), subjects_of(b), Place("room", "p")
    one.note("ann", place)
    # Commands of one connection are executed in order, and those of two are not.
    for subjects in (one, other):
        assert list(await subjects.find("ann", 10)) == [place]
    other.note("ann", place)
    for subjects in (other, one):
        assert list(await subjects.find("ann", 10)) == [place]
    one.forget("ann", place)
    for subjects in (one, other):
        assert list(await subjects.find("ann", 10)) == [place]


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_a_record_that_is_not_renewed_ends(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    subjects = subjects_of(worker, ttl=0.05)
    subjects.note("ann", Place("room", "p"))
    async with asyncio.timeout(10):
        while await subjects.find("ann", 10):
            await asyncio.sleep(0.01)
