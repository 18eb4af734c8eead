"""A connection over polls: what answers them, and what becomes of the rest when it ends."""

import asyncio
from collections.abc import Callable

import pytest

from relay.gateways.socketio.packets import FRAMINGS, Payload, attachment
from relay.gateways.socketio.polling import OnClose, OverlappingPoll, Polling
from relay.metrics import Metrics
from relay.model.codec import Batch, Bundle, Frame
from relay.model.errors import GOING_AWAY, SLOW, CloseReason
from relay.rooms.connection import Connection

Ended = asyncio.Future[tuple[CloseReason, Payload | None]]


@pytest.fixture
async def ended() -> Ended:
    return asyncio.get_running_loop().create_future()


@pytest.fixture
def on_close(ended: Ended) -> OnClose:
    return lambda reason, final: ended.set_result((reason, final))


def polling(on_close: OnClose, limit: int = 1000, metrics: Metrics | None = None) -> Polling:
    return Polling(FRAMINGS[4], limit=limit, metrics=metrics or Metrics(), on_close=on_close)


def ignore(reason: CloseReason, final: Payload | None) -> None:
    """Nothing is to be done."""


async def test_a_poll_gets_at_once_what_was_written_before() -> None:
    one = polling(ignore)
    one.write(Frame(b"4a"))
    one.write_batch(Batch([Frame(b"4b"), Bundle([Frame(b"451-[]"), attachment(b"\1", 4)])]))
    assert one.poll().result() == Payload(b"4a\x1e4b\x1e451-[]\x1ebAQ==")


async def test_what_is_written_in_one_turn_answers_a_poll_together() -> None:
    one = polling(ignore)
    poll = one.poll()
    one.write(Frame(b"4a"))
    one.write(Frame(b"4b"))
    assert not poll.done()
    assert await poll == Payload(b"4a\x1e4b")
    one.write(Frame(b"4c"))
    assert await one.poll() == Payload(b"4c")


async def test_a_second_poll_before_the_first_is_answered_is_refused() -> None:
    one = polling(ignore)
    poll = one.poll()
    with pytest.raises(OverlappingPoll):
        one.poll()
    one.write(Frame(b"4a"))
    assert await poll == Payload(b"4a")


async def test_an_answer_that_was_due_and_has_left_is_not_given_to_the_next_poll() -> None:
    one = polling(ignore)
    first = one.poll()
    one.write(Frame(b"4a"))
    one.release_poll()
    assert first.result() == Payload(b"4a")
    second = one.poll()
    await asyncio.sleep(0)
    assert not second.done()


async def test_a_poll_that_was_dropped_takes_nothing_with_it() -> None:
    one = polling(ignore)
    one.poll().cancel()
    one.write(Frame(b"4a"))
    await asyncio.sleep(0)
    assert one.poll().result() == Payload(b"4a")


async def test_a_poll_that_is_released_gets_a_noop() -> None:
    one = polling(ignore)
    one.release_poll()
    poll = one.poll()
    one.release_poll()
    assert poll.result() == Payload(b"6")


async def test_traffic_is_counted_when_it_is_sent() -> None:
    metrics = Metrics()
    one = polling(ignore, metrics=metrics)
    one.write(Frame(b"4abc"))
    assert metrics.traffic.messages_out == 0
    one.poll()
    assert (metrics.traffic.messages_out, metrics.traffic.bytes_out) == (1, 4)


async def test_a_client_that_is_too_slow_is_closed_only_after_others_were_written_to(
    on_close: OnClose, ended: Ended
) -> None:
    """The hub is in the middle of a room's members when it writes."""
    slow: Connection = polling(on_close)
    for _ in range(3):
        slow.write(Frame(b"4" + b"x" * 400))
    assert slow.reason is SLOW
    assert not ended.done()
    assert await ended == (SLOW, Payload(b"1"))


@pytest.mark.parametrize("open_poll", [True, False])
async def test_the_last_frames_and_the_close_packet_go_to_the_poll_or_to_the_owner(
    on_close: OnClose, ended: Ended, open_poll: bool
) -> None:
    one = polling(on_close)
    poll = one.poll() if open_poll else None
    one.write(Frame(b"4last"))
    for _ in range(2):  # only the first reason counts
        one.close(GOING_AWAY)
    one.close(SLOW)
    one.write(Frame(b"4late"))
    payload = Payload(b"4last\x1e1")
    if poll is None:
        assert await ended == (GOING_AWAY, payload)
    else:
        assert poll.result() == payload
        assert await ended == (GOING_AWAY, None)
    assert one.reason is GOING_AWAY


async def test_polling_that_has_ended_returns_what_was_not_sent_and_forgets_its_owner() -> None:
    ended: list[CloseReason] = []

    def owner() -> Callable[[CloseReason, Payload | None], None]:
        return lambda reason, final: ended.append(reason)

    one = polling(owner())
    poll = one.poll()
    one.write(Frame(b"4a"))
    assert [frame.data for frame in one.end()] == [b"4a"]
    assert poll.result() == Payload(b"6")
    one.close(GOING_AWAY)
    await asyncio.sleep(0)
    assert ended == []
