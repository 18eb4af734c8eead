import asyncio
import re
import time
from typing import Any

import pytest

from relay.gateways.base.http import HttpExchange
from relay.gateways.base.polling_rules import PollAnswer
from relay.gateways.signalr import polled
from relay.gateways.signalr.places import COOKIE
from relay.gateways.signalr.polled import HubWriter
from relay.gateways.signalr.protocols import JSON_PROTOCOL, PACKED_PROTOCOL
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.errors import GOING_AWAY, SLOW, Refused
from relay.rooms.connection import Transfer
from tests.unit.gateways.base.fakes import until, until_members
from tests.unit.gateways.signalr.site import HANDSHAKE, SignalRSite, records, site
from tests.unit.gateways.signalr.test_client import client

KEPT = {"cookie": f"{COOKIE}={'A' * 22}"}


def writer(*, packed: bool = False, greeted: bool = True) -> HubWriter:
    one = client()
    one.protocol, one.greeted = PACKED_PROTOCOL if packed else JSON_PROTOCOL, greeted
    return HubWriter(one)


def test_answers_to_polls() -> None:
    body = writer().answer(PollAnswer((Frame(b"a\x1e"), Frame(b"b\x1e"))))
    assert (body.data, body.status, body.media_type) == (b"a\x1eb\x1e", 200, b"text/plain; charset=UTF-8")
    assert writer(packed=True).answer(PollAnswer(())).media_type == b"application/octet-stream"
    assert writer().answer(PollAnswer(())).status == 200
    assert writer().answer(PollAnswer((), superseded=True)).status == 204
    last = writer().answer(PollAnswer((), GOING_AWAY))
    assert (last.data, last.status) == (b'{"type":7,"allowReconnect":true}\x1e', 200)
    assert writer().posted(()).data == b""
    with pytest.raises(Refused):
        writer().read(b"", b"")


def test_parts_of_a_stream() -> None:
    assert writer().events(PollAnswer((Frame(b'{"a":\n1}\x1e'),))) == b'data: {"a":\r\ndata: 1}\x1e\r\n\r\n'
    assert writer().events(PollAnswer(())) == b'data: {"type":6}\x1e\r\n\r\n'
    assert writer(greeted=False).events(PollAnswer(())) == b":\r\n\r\n"
    gone = client()
    gone.left = True
    assert HubWriter(gone).events(PollAnswer((), GOING_AWAY)) == b":\r\n\r\n"


async def test_a_broken_post_ends_the_connection() -> None:
    async with site(reconnect_grace=60) as one:
        ann = await one.poller("peer=ann", **KEPT)
        assert (await ann.post(b"nonsense\x1e")).status == 400
        assert (await ann.next())["error"].startswith("bad_packet: ")
        assert (await ann.poll()).status == 404
        await until_members(one.worker, "room", {"ann": True})


async def test_a_poll_that_the_browser_sends_again_gets_the_same_answer() -> None:
    async with site() as one:
        ann, ben = await one.poller("peer=ann"), await one.poller("peer=ben")
        await ann.next()
        await ben.say(type=1, target="Send", arguments=["h"])
        first = await one.ask("GET", f"{ann.target}&_=1700000000000")
        assert b'"h"' in first.body
        await asyncio.sleep(2 * polled._SAME_POLL)
        assert (await one.ask("GET", f"{ann.target}&_=1700000000000")).body == first.body
        await ben.say(type=1, target="Send", arguments=["i"])
        assert b'"h"' not in (await one.ask("GET", f"{ann.target}&_=1700000000001")).body


async def test_polls_of_one_millisecond_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polled, "_SAME_POLL", 60.0)
    async with site() as one:
        ann, ben = await one.poller("peer=ann"), await one.poller("peer=ben")
        await ann.next()
        for text in ("h", "i"):
            await ben.say(type=1, target="Send", arguments=[text])
            [message] = records((await one.ask("GET", f"{ann.target}&_=17")).body)
            assert message["arguments"][0]["message"] == text


async def test_the_position_of_a_stream_is_noted_while_it_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polled, "_NOTED_AFTER", 0.01)
    monkeypatch.setattr(HttpExchange, "transfer", lambda _: Transfer(100, 100))
    async with site() as one:
        noted: list[MessageId] = []
        monkeypatch.setattr(one.worker, "acknowledge", lambda _, position: noted.append(position))
        token = (await one.negotiate("negotiateVersion=1&peer=ann", **KEPT))["connectionToken"]
        target = f"?peer=ann&id={token}"
        request, task = one.start("GET", target, accept="text/event-stream", **KEPT)
        await request.response.until(b":\r\n\r\n")
        await one.ask("POST", target, HANDSHAKE, **KEPT)
        await request.response.until(b"{}\x1e")
        ben = await one.poller("peer=ben")
        for text in ("h", "i"):
            await ben.say(type=1, target="Send", arguments=[text])
        await request.response.until(b'"i"')
        newest = re.findall(rb'"id":"([0-9-]+)"', request.response.body)[-1]
        await until(lambda: [str(one).encode() for one in noted[-1:]] == [newest])
        request.drop()
        await task


async def drop_poll(one: SignalRSite, target: str) -> None:
    request, task = one.start("GET", target, **KEPT)
    await asyncio.sleep(0)
    request.drop()
    await task


async def test_a_client_that_drops_its_poll_is_held_and_may_still_say_goodbye() -> None:
    async with site(reconnect_grace=60) as one:
        ann = await one.poller("peer=ann", **KEPT)
        await drop_poll(one, ann.target)
        await until_members(one.worker, "room", {"ann": True})
        assert (await ann.poll()).status == 404
        assert (await one.ask("DELETE", ann.target, **KEPT)).status == 202
        await until_members(one.worker, "room", {})
        # The client library posts its last message behind that.
        assert (await ann.say(type=7)).status == 404


@pytest.mark.parametrize(("mark", "status"), [("&_=1700000000000", 200), ("", 404)])
async def test_an_answer_that_a_dropped_poll_has_taken_is_repeated_or_reported_lost(mark: str, status: int) -> None:
    async with site(reconnect_grace=60) as one:
        ann = await one.poller("peer=ann", **KEPT)
        _, task = one.start("GET", f"{ann.target}{mark}", ends_when_answered=True, **KEPT)
        await task
        await one.worker.publish_from_server("room", b"{}")
        await asyncio.sleep(2 * polled._SAME_POLL)
        assert (await one.ask("GET", f"{ann.target}{mark}", **KEPT)).status == status


@pytest.mark.parametrize("transport", ["polls", "stream"])
async def test_a_client_that_drops_a_post_stays(transport: str) -> None:
    async with site(reconnect_grace=60) as one:
        ann = await one.poller("peer=ann", **KEPT)
        accept = {"accept": "text/event-stream"} if transport == "stream" else {}
        receiving, task = one.start("GET", ann.target, **KEPT, **accept)
        await asyncio.sleep(0)
        post, dropped = one.start("POST", ann.target, b'{"type":1,', complete=False, **KEPT)
        await asyncio.sleep(0)
        post.drop()
        await dropped
        await until_members(one.worker, "room", {"ann": False})
        await ann.say(type=1, target="Presence", arguments=[], invocationId="0")
        await until(lambda: b'"invocationId":"0"' in receiving.response.body)
        receiving.drop()
        await task


async def test_a_newer_poll_is_open_when_an_older_one_is_dropped() -> None:
    async with site(reconnect_grace=60) as one:
        ann = await one.poller("peer=ann", **KEPT)
        request, older = one.start("GET", ann.target, **KEPT)
        await asyncio.sleep(0)
        newer_request, newer = one.start("GET", ann.target, **KEPT)
        request.drop()
        await older
        await ann.say(type=1, target="Presence", arguments=[], invocationId="0")
        await newer
        assert records(newer_request.response.body)[0]["invocationId"] == "0"


async def test_polls_that_end_an_older_one_have_the_rate_of_http_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as one:
        ann, counted = await one.poller("peer=ann", **KEPT), 0

        async def admit(_: str) -> None:
            nonlocal counted
            counted += 1
            if counted > 1:
                raise Refused("too_many_requests")

        monkeypatch.setattr(one.worker.requests, "admit", admit)
        polls = []
        for times in (0, 1):
            polls.append(one.start("GET", ann.target, **KEPT))
            await asyncio.sleep(0)
            assert counted == times
        await polls[0][1]
        assert (await ann.poll()).status == 429
        await ann.say(type=1, target="Presence", arguments=[], invocationId="0")
        await polls[1][1]
        assert records(polls[1][0].response.body)[0]["invocationId"] == "0"


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
async def test_a_session_that_ends_while_a_newer_request_waits_for_its_turn_is_not_found(
    monkeypatch: pytest.MonkeyPatch, accept: str
) -> None:
    """Else the request would wait in a session that nothing reaches any more, a stream without end."""
    async with site(reconnect_grace=60) as one:
        ann = await one.poller("peer=ann", **KEPT)
        request, older = one.start("GET", ann.target, **KEPT)
        await asyncio.sleep(0)

        async def admit(_: str) -> None:
            request.drop()
            await older
            await until(lambda: len(one.state) == 0)

        monkeypatch.setattr(one.worker.requests, "admit", admit)
        assert (await one.ask("GET", ann.target, accept=accept, **KEPT)).status == 404


async def test_a_client_that_polls_too_slowly_is_closed_alone() -> None:
    async with site(send_buffer=4096, max_message=1024, reconnect_grace=60) as one:
        slow = await one.poller("peer=slow", **KEPT)
        quick = await one.poller("peer=quick&presence=0")
        for number in range(8):
            await quick.say(type=1, target="Send", arguments=[{"message": "x" * 900}], invocationId=str(number))
            assert (await quick.next())["invocationId"] == str(number)
        await until(lambda: len(one.state) == 1)
        assert (await slow.poll()).status in {204, 200, 404}
        assert one.worker.metrics.of("signalr").closed.labels(SLOW.name)._value.get() == 1
        await quick.say(type=1, target="Presence", arguments=[], invocationId="9")
        answer = await quick.next()
        assert {member["peer"] for member in answer["result"]["members"]} == {"quick", "slow"}


async def test_a_large_post_is_served_in_its_turn() -> None:
    async with site() as one:
        ann = await one.poller("peer=ann")
        await ann.say(type=1, target="Send", arguments=[{"message": "x" * 20_000}], invocationId="0")
        assert "id" in (await ann.next())["result"]


async def test_a_newer_poll_ends_the_one_before() -> None:
    async with site() as one:
        ann = await one.poller("peer=ann")
        request, first = one.start("GET", ann.target)
        await asyncio.sleep(0)
        second_request, second = one.start("GET", ann.target)
        await first
        assert request.response.status == 204
        await ann.say(type=1, target="Presence", arguments=[], invocationId="0")
        await second
        answers: list[Any] = records(second_request.response.body)
        assert answers[0]["invocationId"] == "0"


async def dropped_stream(one: SignalRSite, query: str = "peer=ann", handshake: bytes = HANDSHAKE) -> str:
    """The address of a client whose stream was dropped."""
    token = (await one.negotiate(f"negotiateVersion=1&{query}", **KEPT))["connectionToken"]
    target = f"?{query}&id={token}"
    request, task = one.start("GET", target, accept="text/event-stream", **KEPT)
    await request.response.until(b":\r\n\r\n")
    await one.ask("POST", target, handshake, **KEPT)
    await request.response.until(b"{}\x1e")
    request.drop()
    await task
    await until_members(one.worker, "room", {"ann": True})
    return target


async def test_a_stream_that_is_dropped_is_lost() -> None:
    async with site(reconnect_grace=60) as one:
        target = await dropped_stream(one)
        assert (await one.ask("POST", target, b'{"type":6}\x1e', **KEPT)).status == 404
        assert (await one.ask("POST", target, b"x" * 5000, **KEPT)).status == 404
        assert (await one.ask("GET", target, accept="text/event-stream", **KEPT)).status == 404
        await until_members(one.worker, "room", {"ann": True})


async def test_a_goodbye_may_arrive_after_the_end_of_its_stream() -> None:
    """As in a browser, whose client drops its stream and posts its last message at the same time."""
    async with site(reconnect_grace=60) as one:
        target = await dropped_stream(one)
        assert (await one.ask("POST", target, b'{"type":7}\x1e', **KEPT)).status == 200
        await until_members(one.worker, "room", {})
        assert (await one.ask("POST", target, b'{"type":7}\x1e', **KEPT)).status == 404


async def test_a_late_goodbye_that_fails_may_be_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client library posts its last message, and sends DELETE behind it."""
    async with site(reconnect_grace=60) as one:
        target = await dropped_stream(one)

        async def fail(*_: object, **__: object) -> None:
            raise Refused("unavailable")

        with monkeypatch.context() as away:
            away.setattr("relay.gateways.signalr.gateway.leave", fail)
            assert (await one.ask("POST", target, b'{"type":7}\x1e', **KEPT)).status == 503
        assert (await one.ask("DELETE", target, **KEPT)).status == 202
        await until_members(one.worker, "room", {})


async def test_a_late_goodbye_does_not_end_a_newer_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site(reconnect_grace=60) as one:
        target = await dropped_stream(one)
        arrived = time.monotonic()
        ann = await one.poller("peer=ann", **KEPT)
        monkeypatch.setattr("relay.gateways.signalr.gateway.arrival", lambda scope: arrived)
        assert (await one.ask("POST", target, b'{"type":7}\x1e', **KEPT)).status == 200
        await until_members(one.worker, "room", {"ann": False})
        await ann.say(type=1, target="Presence", arguments=[], invocationId="0")
        assert (await ann.next())["result"]["count"] == 1
