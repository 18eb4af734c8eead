"""HTTP sessions as a second protocol uses them: event stream, posts with replies, and a long poll with a cursor."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from relay.gateways.base.http import HttpBody
from relay.gateways.base.http_sessions import HttpSession
from relay.gateways.base.polling_rules import Overlap, PollAnswer
from relay.model.codec import Frame
from relay.model.errors import GOING_AWAY, SLOW
from tests.unit.gateways.base.fakes import until, until_members
from tests.unit.gateways.base.http_fakes import RULES, Dialect, Gateway, Request, gateway, hold, scope


async def welcomed(one: Gateway, peer: str = "") -> tuple[str, Callable[[str], str]]:
    """A session whose client has its welcome; returns its id, and a function that adds that to a target."""
    session_id, _ = await one.begin(peer)
    welcome = (await one.ask("GET", f"/poll?id={session_id}&cursor=0")).lines
    assert [event["type"] for event in welcome] == ["welcome"]
    return session_id, lambda target: f"{target}{'&' if '?' in target else '?'}id={session_id}"


# The life of a session.


async def test_a_session_counts_while_it_lasts_and_its_id_is_in_the_responses() -> None:
    async with gateway() as one:
        response = await one.ask("POST", "/begin")
        assert response.headers["x-session"] == response.body.decode()
        assert (len(one.sessions), len(one.worker.clients), len(one.worker.admissions)) == (1, 1, 1)
        await one.ask("DELETE", f"/end?id={response.body.decode()}")
        assert (len(one.sessions), len(one.worker.clients), len(one.worker.admissions)) == (0, 0, 0)


async def test_ids_are_unguessable_and_an_unknown_one_is_refused() -> None:
    async with gateway() as one:
        ids = {(await one.begin())[0] for _ in range(3)}
        assert len(ids) == 3
        assert min(map(len, ids)) >= 22
        response = await one.ask("GET", "/poll?id=unknown")
        assert (response.status, response.lines[0]["error"]["code"]) == (400, "unknown_session")


async def test_a_client_that_says_goodbye_leaves_and_one_that_is_lost_is_held() -> None:
    async with gateway(replace(RULES, lost_after=1)) as one:
        first, _ = await one.begin("ann")
        await one.begin("ben")
        await one.ask("DELETE", f"/end?id={first}")
        await until_members(one.worker, "room", {"ben": True})
        closed = one.worker.metrics.closed
        assert (closed.labels("client")._value.get(), closed.labels("lost")._value.get()) == (1, 1)


async def test_the_last_answer_of_a_session_waits_for_its_next_poll_once() -> None:
    async with gateway() as one:
        session_id, with_id = await welcomed(one)
        session = one.sessions.get(session_id)
        assert session is not None
        session.close_gracefully(GOING_AWAY)
        await until(lambda: not one.sessions)
        assert (await one.ask("GET", with_id("/poll"))).lines == [{"closed": "going_away"}]
        assert (await one.ask("GET", with_id("/poll"))).status == 400


class Marking(Dialect):
    """Answers repeat the client's mark of the poll."""

    def answer(self, answer: PollAnswer) -> HttpBody:
        return HttpBody(answer.token.encode())


async def test_an_answer_may_repeat_the_token_of_its_poll() -> None:
    async with gateway() as one:
        one.dialect = Marking()
        session_id, session = await one.begin()
        assert (await one.ask("GET", f"/poll?id={session_id}&cursor=0")).body == b"0"
        older = one.start("GET", f"/poll?id={session_id}&cursor=1", first := Request())
        await until(lambda: not session.polling.idle)
        assert (await one.ask("GET", f"/poll?id={session_id}&cursor=2&wait=0")).body == b"2"
        await older
        assert first.response.body == b"1"


async def test_the_last_answer_of_a_session_has_the_token_of_the_poll_that_takes_it() -> None:
    async with gateway() as one:
        one.dialect = Marking()
        session_id, session = await one.begin("ann")
        session.close_gracefully(GOING_AWAY)
        await until(lambda: not one.sessions)
        assert (await one.ask("GET", f"/poll?id={session_id}&cursor=7")).body == b"7"


async def test_a_client_that_cannot_join_hears_why() -> None:
    async with gateway() as one:
        await one.begin("ann")
        session_id = (await one.ask("POST", "/begin?peer=ann")).body.decode()
        lines = (await one.ask("GET", f"/poll?id={session_id}")).lines
        assert (lines[0]["code"], lines[1]) == ("peer_taken", {"closed": "peer_taken"})


async def test_a_request_for_a_session_elsewhere_is_forwarded() -> None:
    async with gateway() as one:
        assert (await one.ask("POST", "/send?id=elsewhere", b"{}")).body == b"{}"
        assert (await one.ask("GET", "/poll?id=nowhere")).status == 400


async def test_only_a_poll_gets_the_last_answer() -> None:
    async with gateway() as one:
        session_id, with_id = await welcomed(one)
        session = one.sessions.get(session_id)
        assert session is not None
        session.close_gracefully(GOING_AWAY)
        await until(lambda: not one.sessions)
        assert (await one.ask("POST", with_id("/send"), b"{}")).status == 400
        assert (await one.ask("GET", with_id("/poll"))).lines == [{"closed": "going_away"}]


# Polls.


async def test_a_lost_answer_is_given_again_and_a_new_cursor_acknowledges_it() -> None:
    async with gateway() as one:
        session_id, with_id = await welcomed(one)
        session = one.sessions.get(session_id)
        assert session is not None
        session.polling.write(Frame(b'{"n":1}'))
        for _ in range(2):
            assert (await one.ask("GET", with_id("/poll?cursor=1"))).lines == [{"n": 1}]
        session.polling.write(Frame(b'{"n":2}'))
        assert (await one.ask("GET", with_id("/poll?cursor=2"))).lines == [{"n": 2}]


async def drop_when_answered(one: Gateway, target: str, session: HttpSession[Frame]) -> None:
    """Poll, and end the connection when the poll has its answer, which is not written yet."""
    asked, request = scope("GET", target, one.state), Request()
    hold(asked, request, ends_when_answered=True)
    await one(asked, request.receive, request.send)
    assert not session.polling.idle
    session.polling.write(Frame(b"1"))
    await until(lambda: session.polling.idle)
    assert not request.response.status


@pytest.mark.parametrize("repeats", [True, False])
async def test_an_answer_that_a_dropped_poll_has_taken_comes_again_or_the_session_is_lost(repeats: bool) -> None:
    async with gateway(replace(RULES, lost_with_request=True)) as one:
        session_id, with_id = await welcomed(one)
        session = one.sessions.get(session_id)
        assert session is not None
        target = with_id("/poll?cursor=1" if repeats else "/poll")
        await drop_when_answered(one, target, session)
        assert (await one.ask("GET", target)).status == (200 if repeats else 400)
        assert (one.sessions.get(session_id) is session) is repeats


async def test_a_client_that_polls_on_while_its_earlier_answer_is_dropped_hears_of_the_loss() -> None:
    async with gateway(replace(RULES, lost_with_request=True)) as one:
        session_id, _ = await welcomed(one)
        session = one.sessions.get(session_id)
        assert session is not None
        answer = PollAnswer((Frame(b"1"),))
        newer = session.polling.poll()
        session.polling.answer_dropped(answer._replace(superseded=True), repeatable=True)
        session.polling.answer_dropped(PollAnswer(()), repeatable=True)
        assert one.sessions.get(session_id) is session
        session.polling.answer_dropped(answer, repeatable=True)
        assert one.sessions.get(session_id) is None
        assert newer.done()


async def test_a_large_answer_at_once_is_held_so_that_its_loss_is_known() -> None:
    async with gateway(replace(RULES, lost_with_request=True)) as one:
        session_id, with_id = await welcomed(one)
        session = one.sessions.get(session_id)
        assert session is not None
        session.polling.write(Frame(b"x" * 100_000))
        asked, request = scope("GET", with_id("/poll"), one.state), Request()
        response = hold(asked, request)
        request.may_send.clear()
        await one(asked, request.receive, request.send)
        await until(lambda: request.response.status == 200)
        response.dropped = True
        request.may_send.set()
        await until(lambda: not one.sessions)
        assert (await one.ask("GET", with_id("/poll"))).status == 400


async def test_a_second_poll_releases_the_first() -> None:
    async with gateway() as one:
        _, with_id = await welcomed(one)
        first, second = Request(), Request()
        older = one.start("GET", with_id("/poll?cursor=1"), first)
        await asyncio.sleep(0)
        newer = one.start("GET", with_id("/poll?cursor=2"), second)
        await older
        assert (first.response.status, first.response.body) == (204, b"")
        assert not newer.done()
        second.drop()
        await newer
        assert second.response.status == 0


async def test_a_second_poll_is_refused_where_the_rules_say_so() -> None:
    async with gateway(replace(RULES, overlap=Overlap.REFUSE)) as one:
        _, with_id = await welcomed(one)
        first = Request()
        older = one.start("GET", with_id("/poll"), first)
        await asyncio.sleep(0)
        assert (await one.ask("GET", with_id("/poll"))).lines[0]["error"]["code"] == "poll_overlap"
        await older
        assert first.response.lines == [{"closed": "bad_packet"}]


async def test_a_poll_without_frames_is_answered_after_its_time() -> None:
    async with gateway() as one:
        _, with_id = await welcomed(one)
        response = await one.ask("GET", with_id("/poll?wait=0.01"))
        assert (response.status, response.body) == (200, b"")


async def test_a_dropped_poll_is_no_loss_where_the_rules_say_so() -> None:
    async with gateway() as one:
        session_id, with_id = await welcomed(one)
        request = Request()
        poll = one.start("GET", with_id("/poll?cursor=1"), request)
        await asyncio.sleep(0)
        request.drop()
        await poll
        assert one.sessions.get(session_id) is not None


# Posts.


async def test_the_response_to_a_post_has_the_replies_of_its_commands_and_no_messages() -> None:
    async with gateway() as one:
        (_, ann), (_, ben) = await welcomed(one, "ann"), await welcomed(one, "ben")
        body = b'{"type":"publish","key":"1","envelope":{"channel":"x","n":1}}\n{"type":"nonsense","key":"2"}'
        replies = (await one.ask("POST", ann("/send"), body)).lines
        assert [(reply["type"], reply["key"]) for reply in replies] == [("ack", "1"), ("error", "2")]
        assert [event["n"] for event in (await one.ask("GET", ben("/poll?cursor=1"))).lines] == [1]
        assert (await one.ask("GET", ann("/poll?cursor=1&wait=0"))).lines == []


async def test_posts_of_one_client_may_overlap_up_to_the_rules() -> None:
    async with gateway(replace(RULES, posts=2)) as one:
        _, with_id = await welcomed(one)
        requests = [Request(b"", complete=False) for _ in range(2)]
        open_posts = [one.start("POST", with_id("/send"), request) for request in requests]
        await asyncio.sleep(0)
        assert (await one.ask("POST", with_id("/send"), b"{}")).lines[0]["error"]["code"] == "poll_overlap"
        for request in requests:
            request.drop()
        await asyncio.gather(*open_posts)


async def test_a_post_of_another_type_or_size_is_refused_and_the_session_goes_on() -> None:
    async with gateway() as one:
        session_id, with_id = await welcomed(one)
        wrong = await one.ask("POST", with_id("/send"), b"{}", content_type="text/plain; charset=utf-8")
        large = await one.ask("POST", with_id("/send"), b" " * 1001)
        assert (wrong.status, large.status) == (415, 413)
        assert one.sessions.get(session_id) is not None


async def test_a_post_waits_for_its_replies_and_those_of_a_dropped_one_go_to_the_poll() -> None:
    async with gateway() as one:
        session_id, with_id = await welcomed(one)
        session = one.sessions.get(session_id)
        assert session is not None
        session.polling.pause_reading(paused=True)
        request = Request(b'{"type":"nonsense","key":"1"}')
        post = one.start("POST", with_id("/send"), request, content_type="application/json")
        await asyncio.sleep(0)
        assert not post.done()
        session.polling.end()
        await post
        assert [reply["key"] for reply in request.response.lines] == ["1"]


# Streams.


async def test_a_stream_greets_at_once_brings_events_and_stays_alive() -> None:
    async with gateway() as one:
        (ann_id, ann), (_, ben) = await welcomed(one, "ann"), await welcomed(one, "ben")
        request = Request()
        stream = one.start("GET", ann("/stream?keepalive=0.02"), request)
        await request.response.until(b":\n\n")
        headers = request.response.headers
        assert (headers["content-type"], headers["x-accel-buffering"]) == ("text/event-stream", "no")
        assert headers["cache-control"] == "no-store, no-transform"
        await one.ask("POST", ben("/send"), b'{"channel":"x","n":1}')
        await request.response.until(b'data: {"channel":"x","n":1')
        await request.response.until(b"\n\n:\n\n")
        request.drop()
        await stream
        assert one.sessions.get(ann_id) is not None


async def test_a_client_that_drops_its_stream_and_does_not_return_is_lost() -> None:
    async with gateway(replace(RULES, lost_after=1)) as one:
        session_id, with_id = await welcomed(one)
        request = Request()
        stream = one.start("GET", with_id("/stream"), request)
        await request.response.until(b":\n\n")
        request.drop()
        await stream
        await until(lambda: one.sessions.get(session_id) is None)
        assert one.worker.metrics.closed.labels("lost")._value.get() == 1


async def test_a_stream_ends_with_its_last_events_when_the_relay_closes() -> None:
    async with gateway() as one:
        session_id, with_id = await welcomed(one)
        session = one.sessions.get(session_id)
        assert session is not None
        request = Request()
        stream = one.start("GET", with_id("/stream"), request)
        await request.response.until(b":\n\n")
        session.polling.write(Frame(b"last"))
        session.close_gracefully(GOING_AWAY)
        await stream
        assert request.response.body.endswith(b"data: last\n\nevent: closed\ndata: going_away\n\n")
        assert request.response.ended


async def test_a_newer_stream_ends_the_older() -> None:
    async with gateway() as one:
        session_id, with_id = await welcomed(one)
        session = one.sessions.get(session_id)
        assert session is not None
        first, second = Request(), Request()
        older = one.start("GET", with_id("/stream"), first)
        await first.response.until(b":\n\n")
        newer = one.start("GET", with_id("/stream"), second)
        await older
        assert first.response.ended
        session.polling.write(Frame(b"a"))
        await second.response.until(b"data: a")
        second.drop()
        await newer


async def test_a_client_that_reads_its_stream_too_slowly_is_closed() -> None:
    async with gateway(send_buffer=65_536) as one:
        session_id, with_id = await welcomed(one)
        session = one.sessions.get(session_id)
        assert session is not None
        request = Request()
        stream = one.start("GET", with_id("/stream"), request)
        await request.response.until(b":\n\n")
        request.may_send.clear()
        session.polling.write(Frame(b"x"))
        await asyncio.sleep(0.01)  # the stream is sending now, and gets no further
        for _ in range(2):
            session.polling.write(Frame(b"y" * 40_000))
        assert session.polling.reason is SLOW
        await until(lambda: one.sessions.get(session_id) is None)
        request.may_send.set()
        await stream
        assert b"y" not in request.response.body
        assert request.response.body.endswith(b"event: closed\ndata: slow\n\n")


def test_an_answer_without_frames_is_empty() -> None:
    assert PollAnswer(()) == ((), None, False, "", None)
