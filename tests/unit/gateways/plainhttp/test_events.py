import pytest

from relay.gateways.base import http_sessions
from relay.gateways.plainhttp.codec import END_ID
from relay.model.errors import GOING_AWAY, KICKED, CloseReason
from relay.model.events import Present
from tests.unit.gateways.plainhttp.site import KEY, PLACE, site


async def test_a_stream_begins_at_once_and_has_the_messages_of_others() -> None:
    async with site() as here, here.stream() as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.body.startswith(b":\nretry: 1000\n\n")
        receipt = await here.worker.publish_from_server("room", b'{"a":1}')
        await stream.until(b'id: %b\ndata: {"a":1,' % receipt.text)


async def test_a_silent_stream_has_the_ids_of_events_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_sessions, "_EVENT_STREAM_KEEPALIVE", 0.05)
    async with site() as here, here.stream() as stream:
        # A join is an event of the room, of which this client is not told.
        other = await here.json("GET", "messages?peer=bob&wait=0")
        await stream.until(b"\n\nid: %b\n\n" % other["next"].encode())


async def test_the_header_counts_before_the_query() -> None:
    async with site() as here:
        async with here.stream():
            first, second = [await here.worker.publish_from_server("room", b'{"a":1}') for _ in range(2)]
        async with here.stream(f"{PLACE}&since={second.id}", last_event_id=str(first.id)) as stream:
            await stream.until(b"id: %b\ndata: {" % second.text)
        async with here.stream(last_event_id="of another server") as stream:
            assert b'"resumed":true' in stream.body


async def test_a_browser_whose_stream_has_ended_for_good_is_told_so() -> None:
    async with site() as here:
        assert (await here.ask("GET", f"events?{PLACE}", last_event_id=END_ID)).status == 204


@pytest.mark.parametrize(("reason", "mark"), [(KICKED, b"id: end\n"), (GOING_AWAY, b"retry: 1000\n")])
async def test_a_stream_that_the_relay_closes_says_why(reason: CloseReason, mark: bytes) -> None:
    async with site() as here, here.stream() as stream:
        here.worker.clients.close_all(reason)
        await stream.until(b"event: close")
        assert mark in stream.body
        assert stream.ended


async def test_a_passing_error_is_a_stream_and_another_one_a_status() -> None:
    async with site(max_connections=1) as here, here.stream():
        full = await here.ask("GET", "events?peer=bob")
        assert (full.status, full.headers["content-type"]) == (200, "text/event-stream")
        assert b"retry: 5000\nevent: error\ndata: " in full.body
        assert b"worker_full" in full.body
        assert (await here.ask("GET", "events?peer=bob&resume=short")).status == 400


async def test_a_client_that_is_no_browser_names_its_peer() -> None:
    async with site() as here:
        assert (await here.ask("GET", f"events?resume={KEY}")).status == 400
        async with here.stream(f"resume={KEY}", accept="text/event-stream") as stream:
            assert b'"peer":"' in stream.body
        assert (await here.ask("HEAD", f"events?{PLACE}")).status == 405


@pytest.mark.parametrize("target", [f"events?{PLACE}", f"messages?{PLACE}&since=1-1"])
async def test_a_request_that_its_client_gives_up_does_not_take_the_place(target: str) -> None:
    async with site() as here, here.stream() as stream:
        request, task = here.start("GET", target)
        request.drop()
        await task
        receipt = await here.worker.publish_from_server("room", b'{"a":1}')
        await stream.until(b"id: %b\n" % receipt.text)
        assert b"event: close" not in stream.body
        assert (await here.worker.roster("room")).members == [Present("alice")]
