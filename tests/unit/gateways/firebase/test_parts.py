"""Messages in several frames."""

from relay.gateways.firebase.parts import Parts, count_in
from relay.rooms.worker import Worker


def parts(worker: Worker, count: int, limit: int = 100) -> Parts:
    return Parts(count, limit, worker.admissions.buffers.open("here", lambda: None), 10, lambda: None)


def test_a_short_number_is_a_count() -> None:
    assert [count_in(text) for text in (b"0", b"3", b"999999", b"1234567", b"-1", b"", b"{}")] == [
        0,
        3,
        999_999,
        *[None] * 4,
    ]


async def test_parts_are_put_together(worker: Worker) -> None:
    some = parts(worker, 2)
    some.add(b'{"t":"d","d":{"r":12,"a"')
    assert (some.complete, some.number) == (False, 12)
    some.add(b":1}}")
    assert some.complete
    message = some.message()
    assert message is not None
    assert message.data == b'{"t":"d","d":{"r":12,"a":1}}'
    assert worker.admissions.buffers.everything.total == 0


async def test_too_many_bytes_are_dropped_as_they_come(worker: Worker) -> None:
    some = parts(worker, 3)
    for _ in range(3):
        some.add(b"x" * 60)
    assert worker.admissions.buffers.everything.total == 0
    assert some.message() is None
