"""The pages of one place, as their polls come and go."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from relay.config import Settings
from relay.gateways.base.polling import PollingConnection
from relay.gateways.base.polling_rules import PollAnswer, PollingRules
from relay.gateways.xhrsignaling import readers
from relay.gateways.xhrsignaling.codec import RowFrame
from relay.gateways.xhrsignaling.readers import MAX_PAGES, Readers
from relay.model.codec import NOTHING, Frame
from relay.model.envelope import MessageId
from relay.model.errors import GOING_AWAY, CloseReason, Refused
from relay.rooms.worker import Worker

RULES = PollingRules(repeated_answers=1, frames_per_answer=1)
LONG = 60.0


class Owner:
    """The session: it keeps its calls."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    def closed(self, reason: CloseReason, final: PollAnswer | None) -> None: ...

    def lost(self) -> None: ...

    def acknowledged(self, frames: Sequence[Frame]) -> None:
        self.got += [frame.data for frame in frames]


class Place:
    def __init__(self, worker: Worker) -> None:
        self.owner = Owner()
        ticket = worker.admissions.admit("here", "xhrsignaling")
        self.polling = PollingConnection(
            RULES, limit=100_000, metrics=ticket.metrics, buffering=ticket, owner=self.owner
        )
        self.readers = Readers(self.polling)
        self._rows = 0

    def arrive(self, count: int = 1) -> None:
        for _ in range(count):
            self._rows += 1
            self.polling.write(RowFrame(b"%d" % self._rows, MessageId(1, self._rows)))

    def poll(self, hold: float = LONG) -> "asyncio.Future[PollAnswer]":
        return self.readers.wait(hold)


async def read(poll: "asyncio.Future[PollAnswer]") -> Any:
    """The number of the row that a poll gets, None for an answer without one."""
    async with asyncio.timeout(5):
        answer = await poll
    return int(answer.frames[0].data) if answer.frames else None


@pytest.fixture
async def place(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    # No test waits for these, but for those that set them: a busy machine may take seconds.
    for name in ("_PATIENCE", "_AGAIN"):
        monkeypatch.setattr(readers, name, LONG)
    async with Worker(Settings()) as worker:
        yield Place(worker)


async def test_each_poll_of_one_page_gets_the_next_row(place: Place) -> None:
    place.arrive(3)
    place.polling.write(NOTHING)
    place.arrive()
    assert [await read(place.poll()) for _ in range(4)] == [1, 2, 3, 4]
    late = place.poll()
    place.arrive()
    assert await read(late) == 5
    # The next poll acknowledges the row before it.
    assert place.owner.got == [b"1", b"2", b"3", b"", b"4"]
    place.poll()
    assert place.owner.got[-1] == b"5"


async def test_a_poll_without_rows_is_answered_after_a_while_and_takes_none(place: Place) -> None:
    assert await read(place.poll(0)) is None
    assert place.polling.idle
    place.arrive()
    assert await read(place.poll(0)) == 1


async def test_all_pages_get_each_row_of_a_burst(place: Place) -> None:
    first, second = place.poll(), place.poll()
    place.arrive(3)
    for number in (1, 2, 3):
        assert [await read(first), await read(second)] == [number, number]
        first = place.poll()
        await asyncio.sleep(0.01)
        # The other page has not polled again yet, so the next row waits for it.
        assert not first.done()
        second = place.poll()


async def test_a_new_page_gets_the_rows_of_the_last_seconds_and_the_others_get_them_again(place: Place) -> None:
    place.arrive(2)
    assert [await read(place.poll()) for _ in range(2)] == [1, 2]
    old, new = place.poll(), place.poll()
    for number in (1, 2):
        assert [await read(old), await read(new)] == [number, number]
        old, new = place.poll(), place.poll()
    place.arrive()
    assert [await read(old), await read(new)] == [3, 3]


async def test_old_rows_and_many_bytes_are_not_given_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_MOST_BYTES", 1)
    place.arrive(3)
    assert [await read(place.poll()) for _ in range(3)] == [1, 2, 3]
    polls = place.poll(), place.poll()
    assert [await read(poll) for poll in polls] == [3, 3]
    monkeypatch.setattr(readers, "_AGAIN", -1)
    three = [place.poll(), place.poll(), place.poll()]
    place.arrive()
    assert [await read(poll) for poll in three] == [4, 4, 4]


async def test_an_idle_page_holds_no_row_that_it_was_given_long_ago(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Row(RowFrame):
        __slots__ = ("__weakref__",)

    def arrive() -> "weakref.ref[Row]":
        row = Row(b"1", MessageId(1, 1))
        place.polling.write(row)
        return weakref.ref(row)

    row = arrive()
    assert await read(place.poll()) == 1
    assert await read(place.poll(0)) is None
    assert row() is not None
    monkeypatch.setattr(readers, "_AGAIN", -1)
    place.poll()
    gc.collect()
    assert row() is None


async def test_a_page_that_does_not_come_back_holds_the_others_up_for_a_while_only(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_PATIENCE", 0.01)
    polls = place.poll(), place.poll()
    place.arrive(2)
    assert [await read(poll) for poll in polls] == [1, 1]
    assert await read(place.poll()) == 2


async def test_a_page_that_is_gone_is_not_waited_for(place: Place) -> None:
    first, second = place.poll(), place.poll()
    assert not place.readers.drop(second)
    place.arrive()
    assert await read(first) == 1
    last = place.poll()
    assert place.readers.drop(last)
    assert place.polling.idle
    place.arrive()
    assert await read(place.poll()) == 2


async def test_a_row_that_comes_while_a_page_pauses_is_kept_for_it(place: Place) -> None:
    first, second = place.poll(0), place.poll()
    assert await read(first) is None
    place.arrive()
    await asyncio.sleep(0.01)
    assert not second.done()
    assert [await read(place.poll()), await read(second)] == [1, 1]


async def test_the_open_polls_of_a_place_are_bounded(place: Place) -> None:
    polls = [place.poll() for _ in range(MAX_PAGES)]
    with pytest.raises(Refused, match="too_many_connections"):
        place.poll()
    place.arrive()
    assert [await read(poll) for poll in polls] == [1] * MAX_PAGES


async def test_the_end_of_the_session_answers_all_polls(place: Place) -> None:
    polls = place.poll(), place.poll()
    place.polling.close(GOING_AWAY)
    assert [(await poll).closed for poll in polls] == [GOING_AWAY, GOING_AWAY]


async def test_a_session_that_has_ended_answers_all_polls(place: Place) -> None:
    poll = place.poll()
    place.polling.end()
    assert await read(poll) is None
