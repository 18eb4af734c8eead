"""Messages in the URLs of polls."""

import asyncio

import pytest

from relay.gateways.firebase.segments import MOST_EARLY, Segment, Segments, TooLarge, read_segments
from relay.model.codec import Frame
from relay.model.errors import Refused
from relay.rooms.worker import Worker


def new(worker: Worker, limit: int = 100) -> tuple[Segments, list[str]]:
    late: list[str] = []
    ticket = worker.admissions.admit("here", "firebase")
    return Segments(limit, lambda: ticket.buffer(lambda: None), 60, lambda: late.append("late")), late


def texts(found: list[Frame | TooLarge | int]) -> list[object]:
    return [one.data if isinstance(one, Frame) else one for one in found]


def test_a_query_has_segments_with_their_numbers() -> None:
    query = {"seg0": "4", "ts0": "1", "d0": "e30.", "seg1": "5", "ts1": "2", "d1": "_-_-", "seg3": "9"}
    assert read_segments(query) == [Segment(4, 1, b"{}"), Segment(5, 2, b"\xff\xef\xfe")]
    assert read_segments({}) == []


async def test_messages_are_complete_in_the_order_of_their_numbers(worker: Worker) -> None:
    segments, _ = new(worker)
    assert texts([*segments.add([Segment(0, 1, b"a")])]) == [b"a"]
    assert texts([*segments.add([Segment(2, 2, b"c"), Segment(4, 1, b"e")])]) == []
    assert texts([*segments.add([Segment(1, 1, b"b")])]) == [b"b", 1]
    assert texts([*segments.add([Segment(3, 2, b"d")])]) == [b"cd", b"e"]


async def test_a_repeated_segment_counts_once(worker: Worker) -> None:
    segments, _ = new(worker)
    for _ in range(2):
        found = [*segments.add([Segment(0, 1, b"a"), Segment(2, 1, b"c")])]
    assert found == []
    assert texts([*segments.add([Segment(1, 1, b"b"), Segment(2, 1, b"c")])]) == [b"b", b"c"]


async def test_a_message_above_the_limit_is_named_by_its_request(worker: Worker) -> None:
    segments, _ = new(worker, limit=40)
    first = b'{"t":"d","d":{"r":7,'
    assert texts([*segments.add([Segment(0, 3, first), Segment(1, 3, b"x" * 30)])]) == [len(first), 30]
    assert [*segments.add([Segment(2, 3, b"y")])] == [TooLarge("7", 1)]
    assert [*segments.add([Segment(3, 1, b"z" * 41)])] == [TooLarge("", 41)]
    assert texts([*segments.add([Segment(4, 1, b"ok")])]) == [b"ok"]


async def test_so_many_wait_for_others_and_their_bytes_count_until_they_are_forgotten(worker: Worker) -> None:
    segments, _ = new(worker)
    with pytest.raises(Refused, match="bad_query"):
        [*segments.add([Segment(number + 1, 1, b"x" * 10) for number in range(MOST_EARLY + 1)])]
    assert worker.admissions.buffers.everything.total == 10 * MOST_EARLY
    segments.stop()
    assert worker.admissions.buffers.everything.total == 0


async def test_segments_that_wait_for_too_long_are_told(worker: Worker) -> None:
    told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    ticket = worker.admissions.admit("here", "firebase")

    def late() -> None:
        if not told.done():
            told.set_result(None)

    segments = Segments(100, lambda: ticket.buffer(lambda: None), 0.01, late)
    [*segments.add([Segment(1, 1, b"x")])]
    await told
    segments.stop()
