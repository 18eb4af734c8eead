"""A connection over polls and streams: their answers, and its end."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from relay.gateways.base.polling import PollingConnection
from relay.gateways.base.polling_rules import Overlap, PollAnswer, PollingRules
from relay.gateways.base.replies import Reply
from relay.metrics import Metrics
from relay.model.codec import Batch, Bundle, Frame
from relay.model.errors import BAD_PACKET, GOING_AWAY, SLOW, CloseReason, Refused
from relay.rooms.connection import Connection, Transfer
from tests.unit.rooms.buffering import Client as Buffering

RELEASING = PollingRules(overlap=Overlap.RELEASE_OLDER, repeated_answers=1)
WINDOW = PollingRules(overlap=Overlap.RELEASE_OLDER, repeated_answers=2)
A, B, C = Frame(b"a"), Frame(b"b"), Frame(b"c")


class Owner:
    """A session that records the calls of its connection."""

    def __init__(self) -> None:
        self.ended: list[tuple[CloseReason, PollAnswer | None]] = []
        self.losses = 0
        self.acknowledged_frames: list[bytes] = []
        self.changed = asyncio.Event()

    def closed(self, reason: CloseReason, final: PollAnswer | None) -> None:
        self.ended.append((reason, final))
        self.changed.set()

    def lost(self) -> None:
        self.losses += 1
        self.changed.set()

    def acknowledged(self, frames: Sequence[Frame]) -> None:
        self.acknowledged_frames += [frame.data for frame in frames]

    async def heard(self) -> None:
        async with asyncio.timeout(5):
            await self.changed.wait()


@pytest.fixture
async def owner() -> Owner:
    return Owner()


def polling(owner: Owner, rules: PollingRules | None = None, *, limit: int = 1000, **rest: Any) -> PollingConnection:
    metrics = rest.pop("metrics", None) or Metrics().of("test")
    buffering = rest.pop("buffering", None) or Buffering()
    return PollingConnection(
        rules or PollingRules(**rest), limit=limit, metrics=metrics, buffering=buffering, owner=owner
    )


def data(answer: PollAnswer) -> list[bytes]:
    return [frame.data for frame in answer.frames]


# Polls.


async def test_a_poll_gets_earlier_frames_at_once(owner: Owner) -> None:
    one = polling(owner)
    one.write(A)
    one.write_batch(Batch([B, Bundle([C, Frame(b"\1", is_text=False)])]))
    assert data(one.poll().result()) == [b"a", b"b", b"c", b"\1"]


async def test_a_client_is_behind_from_a_large_answer_to_its_next_poll(owner: Owner) -> None:
    one = polling(owner, limit=100_000)
    one.write(A)
    one.poll()
    assert not one.behind
    one.write(Frame(b"x" * 20_000))
    one.poll()
    assert one.behind
    one.poll()
    assert not one.behind


async def test_frames_of_one_turn_answer_a_poll_together(owner: Owner) -> None:
    one = polling(owner)
    poll = one.poll()
    one.write(A)
    one.write(B)
    assert not poll.done()
    assert data(await poll) == [b"a", b"b"]
    one.write(C)
    assert data(await one.poll()) == [b"c"]


async def test_an_answer_has_as_many_frames_as_the_rules_say(owner: Owner) -> None:
    one = polling(owner, frames_per_answer=1)
    for frame in (A, B):
        one.write(frame)
    assert [data(one.poll().result()) for _ in range(2)] == [[b"a"], [b"b"]]
    assert not one.poll().done()


async def test_an_answer_that_was_due_and_has_left_is_not_given_to_the_next_poll(owner: Owner) -> None:
    one = polling(owner)
    first = one.poll()
    one.write(A)
    one.release_poll()
    assert data(first.result()) == [b"a"]
    second = one.poll()
    await asyncio.sleep(0)
    assert not second.done()


async def test_a_poll_that_was_dropped_takes_nothing_with_it(owner: Owner) -> None:
    one = polling(owner)
    one.poll().cancel()
    one.write(A)
    await asyncio.sleep(0)
    assert data(one.poll().result()) == [b"a"]


async def test_a_poll_that_is_released_has_no_frames(owner: Owner) -> None:
    one = polling(owner)
    one.release_poll()
    poll = one.poll()
    one.release_poll()
    assert poll.result() == PollAnswer([])


async def test_a_poll_is_held_as_long_as_the_rules_or_the_request_say(owner: Owner) -> None:
    one = polling(owner, hold=0.01)
    assert await one.poll() == PollAnswer([])
    held = one.poll(hold=60)
    await asyncio.sleep(0.03)
    assert not held.done()
    one.release_poll()
    assert await one.poll(hold=0) == PollAnswer([])


async def test_traffic_is_counted_when_it_is_sent(owner: Owner) -> None:
    metrics = Metrics().of("test")
    one = polling(owner, metrics=metrics)
    one.write(Frame(b"abcd"))
    assert metrics.messages_out == 0
    one.poll()
    assert (metrics.messages_out, metrics.bytes_out) == (1, 4)


# Overlapping polls.


async def test_an_answer_has_arrived_when_the_next_poll_comes(owner: Owner) -> None:
    connection = polling(owner)
    assert connection.progress() == Transfer(0, 0)
    connection.write(A)
    connection.write(B)
    assert connection.progress() == Transfer(2, 0)
    await connection.poll()
    connection.write(C)
    assert connection.progress() == Transfer(3, 0)
    connection.poll()
    assert connection.progress() == Transfer(3, 2)
    connection.close(GOING_AWAY)
    assert connection.progress() is None


async def test_an_answer_that_may_be_given_again_has_not_arrived(owner: Owner) -> None:
    connection = polling(owner, WINDOW)
    for number, frame in enumerate((A, B, C)):
        connection.write(frame)
        await connection.poll(str(number))
    assert connection.progress() == Transfer(3, 1)
    # Repeated.
    await connection.poll("2")
    assert connection.progress() == Transfer(3, 1)
    connection.acknowledge_all()
    assert connection.progress() == Transfer(3, 3)


async def test_a_second_poll_is_refused_and_closes_the_session(owner: Owner) -> None:
    one = polling(owner)
    poll = one.poll()
    with pytest.raises(Refused) as refused:
        one.poll()
    assert refused.value.code == "poll_overlap"
    assert poll.result() == PollAnswer([], BAD_PACKET)


async def test_a_second_poll_releases_the_older_one_and_gets_its_frames(owner: Owner) -> None:
    one = polling(owner, RELEASING)
    older = one.poll("1")
    one.write(A)
    newer = one.poll("2")
    assert older.result() == PollAnswer((), superseded=True, token="1")
    assert data(await newer) == [b"a"]


# Repeated polls.


async def test_a_repeated_poll_gets_its_answer_again(owner: Owner) -> None:
    one = polling(owner, RELEASING)
    one.write(A)
    assert data(one.poll("1").result()) == [b"a"]
    one.write(B)
    assert one.repeats("1")
    assert data(one.poll("1").result()) == [b"a"]
    assert owner.acknowledged_frames == []
    assert data(one.poll("2").result()) == [b"b"]
    assert owner.acknowledged_frames == [b"a"]
    assert not one.repeats("1")
    assert one.repeats("2")


async def test_an_empty_answer_is_not_repeated_at_once(owner: Owner) -> None:
    """The cursor of a client is the same after an empty answer: its next poll must wait."""
    one = polling(owner, RELEASING)
    first = one.poll("1")
    assert one.repeats("1")
    one.release_poll()
    assert first.result() == PollAnswer([], token="1")
    again = one.poll("1")
    assert not again.done()
    one.write(A)
    assert data(await again) == [b"a"]


async def test_a_client_with_two_requests_may_repeat_either(owner: Owner) -> None:
    one = polling(owner, WINDOW)
    for token, frame in (("1", A), ("2", B)):
        one.write(frame)
        one.poll(token)
    assert [data(one.poll(token).result()) for token in ("1", "2")] == [[b"a"], [b"b"]]
    one.write(C)
    assert data(one.poll("3").result()) == [b"c"]
    assert owner.acknowledged_frames == [b"a"]


async def test_frames_that_are_not_acknowledged_count_against_the_limit(owner: Owner) -> None:
    one = polling(owner, RELEASING, limit=10)
    one.write(Frame(b"x" * 8))
    one.poll("1")
    one.write(Frame(b"x" * 8))
    assert one.reason is SLOW
    other = polling(owner, RELEASING, limit=10)
    for token in ("1", "2", "3"):
        poll = other.poll(token)
        other.write(Frame(b"x" * 8))
        assert data(await poll) == [b"x" * 8]
    assert other.reason is None


async def test_unacknowledged_frames_are_returned_at_the_end_with_those_not_sent(owner: Owner) -> None:
    one = polling(owner, RELEASING)
    one.write(A)
    one.poll("1")
    one.write(B)
    assert [frame.data for frame in one.end()] == [b"a", b"b"]


# The relay closes.


async def test_a_client_that_is_too_slow_is_closed_only_after_others_were_written_to(owner: Owner) -> None:
    """The hub is in the middle of a room's members when it writes."""
    slow: Connection = polling(owner)
    for _ in range(3):
        slow.write(Frame(b"x" * 400))
    assert slow.reason is SLOW
    assert not owner.ended
    await owner.heard()
    assert owner.ended == [(SLOW, PollAnswer([], SLOW))]


@pytest.mark.parametrize("open_poll", [True, False])
async def test_the_last_frames_go_to_the_poll_or_to_the_owner(owner: Owner, open_poll: bool) -> None:
    one = polling(owner)
    poll = one.poll() if open_poll else None
    one.write(A)
    for _ in range(2):  # only the first reason counts
        one.close(GOING_AWAY)
    one.close(SLOW)
    one.write(B)
    final = PollAnswer([A], GOING_AWAY)
    await owner.heard()
    if poll is None:
        assert owner.ended == [(GOING_AWAY, final)]
    else:
        assert poll.result() == final
        assert owner.ended == [(GOING_AWAY, None)]
    assert one.reason is GOING_AWAY


async def test_a_poll_between_the_close_and_its_report_gets_the_last_frames(owner: Owner) -> None:
    one = polling(owner)
    one.write(A)
    one.close(GOING_AWAY)
    assert one.poll().result() == PollAnswer([A], GOING_AWAY)
    await owner.heard()
    assert owner.ended == [(GOING_AWAY, None)]


async def test_a_connection_that_has_ended_returns_unsent_frames_and_forgets_its_owner(owner: Owner) -> None:
    one = polling(owner)
    poll = one.poll()
    one.write(A)
    assert one.end() == [A]
    assert poll.result() == PollAnswer([])
    one.close(GOING_AWAY)
    await asyncio.sleep(0)
    assert owner.ended == []


# The client is lost.


async def test_a_dropped_request_loses_the_session_if_the_rules_say_so(owner: Owner) -> None:
    lost, kept = polling(owner, lost_with_request=True), polling(owner)
    kept.drop(kept.poll())
    assert owner.losses == 0
    assert not kept.poll().done()  # it is no second poll
    lost.drop(lost.poll())
    assert owner.losses == 1


async def test_a_client_that_has_dropped_its_poll_may_send_it_again_within_the_grace(owner: Owner) -> None:
    rules = PollingRules(lost_with_request=True, drop_grace=0.02, lost_after=60)
    again, gone = polling(owner, rules), polling(other := Owner(), rules)
    for one in (again, gone):
        one.drop(one.poll())
    poll = again.poll()
    again.write(A)
    assert data(await poll) == [b"a"]
    await other.heard()
    assert (owner.losses, other.losses) == (0, 1)


@pytest.mark.parametrize("polls", [False, True])
async def test_a_client_that_does_not_poll_in_time_is_lost(owner: Owner, polls: bool) -> None:
    one = polling(owner, lost_after=0.02)
    if polls:
        poll = one.poll()
        await asyncio.sleep(0.04)
        assert owner.losses == 0
        one.write(A)
        await poll
    await owner.heard()
    assert owner.losses == 1


async def test_a_client_whose_poll_was_dropped_is_lost_although_a_frame_came_meanwhile(owner: Owner) -> None:
    one = polling(owner, lost_after=0.02)
    poll = one.poll()
    await asyncio.sleep(0.03)  # the timer has found the poll open, and stopped
    poll.cancel()
    one.write(A)
    await asyncio.sleep(0)
    one.drop(poll)
    await owner.heard()
    assert owner.losses == 1


async def test_a_client_that_polls_is_not_lost(owner: Owner) -> None:
    one = polling(owner, lost_after=0.5)
    for _ in range(8):
        await one.poll(hold=0.1)
    assert owner.losses == 0
    one.end()
    await asyncio.sleep(0.6)
    assert owner.losses == 0


async def test_a_client_that_still_reads_a_large_answer_is_not_lost(owner: Owner) -> None:
    one = polling(owner, limit=1_000_000, lost_after=0.05)
    poll = one.poll()
    one.write(Frame(b"x" * 20_000))
    await poll
    one.response_began()
    await asyncio.sleep(0.15)
    assert owner.losses == 0
    one.response_ended()
    await owner.heard()
    assert owner.losses == 1


async def test_a_client_that_has_read_a_small_answer_is_idle_from_then_on(owner: Owner) -> None:
    one = polling(owner, lost_after=0.05)
    poll = one.poll()
    one.write(A)
    await poll
    one.response_began()
    await owner.heard()
    assert owner.losses == 1


def test_a_connection_that_has_ended_is_not_lost_by_that(
    owner: Owner,
) -> None:
    one = polling(owner)
    one.end()
    assert not one.lost
    one.note_loss()
    assert one.lost


# Streams.


async def test_a_stream_takes_written_frames_and_keeps_alive(owner: Owner) -> None:
    one = polling(owner)
    one.write(A)
    stream = one.open_stream()
    assert data(await stream.next(60)) == [b"a"]
    assert await stream.next(0.01) == PollAnswer([])
    following = stream.next(60)
    one.write(B)
    one.write(C)
    assert data(await following) == [b"b", b"c"]


@pytest.mark.parametrize("waits", [True, False])
async def test_a_newer_stream_or_poll_replaces_a_stream(owner: Owner, waits: bool) -> None:
    one = polling(owner, RELEASING)
    older = one.open_stream()
    waiting = older.next(60) if waits else None
    newer = one.open_stream()
    if waiting is not None:
        assert waiting.result().superseded
    assert older.next(60).result().superseded
    older.close()
    one.write(A)
    assert data(await newer.next(60)) == [b"a"]
    poll = one.poll("1")
    assert newer.next(60).result().superseded
    assert not poll.done()


async def test_a_second_stream_is_refused(owner: Owner) -> None:
    one = polling(owner)
    one.open_stream()
    with pytest.raises(Refused):
        one.poll()
    assert one.reason is BAD_PACKET


@pytest.mark.parametrize("behind", [False, True])
async def test_a_stream_gets_the_last_frames_also_when_it_is_behind(owner: Owner, behind: bool) -> None:
    one = polling(owner)
    stream = one.open_stream()
    waiting = None if behind else stream.next(60)
    one.write(A)
    one.close(GOING_AWAY)
    await owner.heard()
    assert owner.ended == [(GOING_AWAY, None)]
    one.end()
    assert (waiting or stream.next(60)).result() == PollAnswer([A], GOING_AWAY)


async def test_a_stream_ends_with_a_session_that_is_lost(owner: Owner) -> None:
    one = polling(owner)
    stream = one.open_stream()
    one.write(A)
    assert one.end() == [A]
    assert stream.next(60).result().superseded


async def test_a_client_whose_stream_ends_is_lost_if_it_does_not_return(owner: Owner) -> None:
    one = polling(owner, lost_after=0.02)
    stream = one.open_stream()
    await asyncio.sleep(0.04)
    assert owner.losses == 0
    stream.close()
    await owner.heard()
    assert owner.losses == 1


# Posts.


async def test_as_many_posts_as_the_rules_say_may_be_open(owner: Owner) -> None:
    one = polling(owner, posts=2)
    with one.posting(), one.posting():
        assert one.reason is None
        with pytest.raises(Refused) as refused, one.posting():
            pass
    assert refused.value.code == "poll_overlap"
    assert one.reason is BAD_PACKET


async def test_a_reply_goes_to_the_post_that_waits_for_it_and_all_else_to_the_poll(owner: Owner) -> None:
    one = polling(owner, posts=2)
    one_reply, other_reply = Reply(b"one", "1"), Reply(b"other", "2")
    with one.posting() as first, one.posting() as second:
        first.expect("1")
        second.expect("2")
        for frame in (A, other_reply, one_reply, Reply(b"unknown", "3")):
            one.write(frame)
        assert (await first.complete(), await second.complete()) == ([one_reply], [other_reply])
        first.delivered()
        second.delivered()
    assert data(one.poll().result()) == [b"a", b"unknown"]


async def test_replies_that_a_dropped_post_has_not_delivered_go_to_the_poll(owner: Owner) -> None:
    one = polling(owner)
    with one.posting() as post:
        post.expect("1")
        post.expect("2")
        one.write(Reply(b"in time", "1"))
    one.write(Reply(b"late", "2"))
    assert data(one.poll().result()) == [b"in time", b"late"]


async def test_posts_wait_while_reading_is_paused_until_the_connection_ends(owner: Owner) -> None:
    one = polling(owner)
    await one.posts.until_resumed()
    for resume in (lambda: one.pause_reading(paused=False), one.end):
        one.pause_reading(paused=True)
        waiting = asyncio.create_task(one.posts.until_resumed())
        await asyncio.sleep(0)
        assert not waiting.done()
        resume()
        await waiting
    await one.posts.until_resumed()


# Bytes that count for the client's address.


async def test_large_frames_count_until_they_are_polled(owner: Owner) -> None:
    client = Buffering()
    one = polling(owner, limit=200_000, buffering=client)
    one.write(Frame(b"x" * 70_000))
    one.write(A)
    assert client.total == 70_001 + 2 * 64
    one.poll()
    assert client.total == 0


async def test_an_answer_that_may_be_repeated_counts_until_it_is_acknowledged(owner: Owner) -> None:
    client = Buffering()
    one = polling(owner, RELEASING, limit=200_000, buffering=client)
    one.write(Frame(b"x" * 70_000))
    one.poll("1")
    assert client.total > 70_000
    one.poll("2")
    assert client.total == 0


async def test_a_session_of_an_address_with_too_many_bytes_is_closed_as_slow(owner: Owner) -> None:
    client = Buffering(address_limit=100_000)
    one, other = (polling(owner, limit=200_000, buffering=client) for _ in range(2))
    one.write(Frame(b"x" * 70_000))
    other.write(Frame(b"x" * 80_000))
    await owner.heard()
    assert (one.reason, other.reason) == (None, SLOW)
    assert data(other.poll().result()) == []
    one.end()
    assert client.total == 0
