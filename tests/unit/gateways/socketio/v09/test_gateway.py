"""The requests of version 0.9: the handshake, polls, and the end of a session."""

import asyncio
import json

import pytest

from tests.unit.gateways.socketio.clients import Site, site

HANDSHAKE = "/socket.io/1/?t=1"


async def handshake(one: Site) -> str:
    """Shake hands; returns the path of the session's requests."""
    answer = await one.get(HANDSHAKE)
    return f"/socket.io/1/xhr-polling/{answer.headers['x-engine-sid']}"


@pytest.mark.parametrize(("interval", "seconds"), [(25, 45), (0.01, 20)])
async def test_a_handshake_has_the_id_the_times_and_the_transports(interval: float, seconds: int) -> None:
    async with site(ping_interval=interval, ping_timeout=20, connections_per_address=1) as one:
        for _ in range(3):  # which are no connections yet
            answer = await one.get(HANDSHAKE)
            sid, heartbeat, close, transports = answer.body.decode().split(":")
            assert (heartbeat, close, transports) == (str(seconds), str(seconds), "websocket,xhr-polling")
            assert answer.headers["x-engine-sid"] == sid


@pytest.mark.parametrize(
    ("method", "url", "text"),
    [
        ("GET", "/socket.io/1/?jsonp=0", "JSONP"),
        ("POST", "/socket.io/1/", ""),
        ("GET", "/socket.io/1/flashsocket/" + "x" * 22, ""),
        ("GET", "/socket.io/1/websocket/" + "x" * 22, ""),
        ("GET", "/socket.io/1/xhr-polling/short", ""),
        ("GET", "/socket.io/1/xhr-polling/" + "x" * 65, ""),
    ],
)
async def test_refused_requests(method: str, url: str, text: str) -> None:
    async with site() as one:
        answer = await one.request(method, url)
        assert answer.status == 400
        assert text in answer.body.decode()


async def test_a_websocket_needs_no_handshake_on_this_worker() -> None:
    async with site() as one:
        wire, _ = await one.socket("/socket.io/1/websocket/" + "x" * 22)
        assert not wire.keepalive
        await wire.until(lambda: wire.texts == ["1::"])
        refused = await one.refused_socket("/socket.io/1/xhr-polling/" + "x" * 22)
        assert json.loads(refused.body)["error"]["code"] == "bad_transport"


async def test_a_session_begins_with_the_first_poll_and_is_counted_then() -> None:
    async with site(connections_per_address=1) as one:
        first, second = await handshake(one), await handshake(one)
        assert (await one.get(first)).body == b"1::"
        assert (await one.get(second)).status == 429
        assert (await one.post(first, b'5:1+::{"name":"a"}')).body == b"1"
        assert (await one.get(first)).body.startswith(b"6:::1+[")


async def test_an_id_that_no_handshake_gave_is_unknown() -> None:
    async with site() as one:
        answer = await one.get("/socket.io/1/xhr-polling/" + "x" * 22)
        assert (answer.status, answer.body) == (200, b"7:::1+0")  # not handshaken, begin anew
        assert one.worker.metrics.errors.labels("socketio-0.9", "unknown_session")._value.get() == 1


async def test_there_are_as_many_handshakes_as_there_may_be_connections() -> None:
    async with site(max_connections=2) as one:
        *kept, beyond = [await handshake(one) for _ in range(3)]
        assert (await one.get(beyond)).body == b"7:::1+0"
        assert [(await one.get(url)).body for url in kept] == [b"1::"] * 2


async def test_a_page_that_is_closed_ends_its_session_by_a_request() -> None:
    async with site() as one:
        url = await handshake(one)
        assert (await one.get(url)).body == b"1::"
        poll = asyncio.create_task(one.get(url))
        await asyncio.sleep(0.01)
        leaving = url.replace("xhr-polling", "") + "/?disconnect=1"
        assert (await one.get(leaving)).body == b""
        assert (await poll).body == b"8::"
        assert (await one.get(leaving)).body == b"7:::1+0"
        assert (await one.get(url)).body == b"7:::1+0"


async def test_a_bad_packet_is_answered_in_text_and_ends_the_session() -> None:
    async with site() as one:
        url = await handshake(one)
        assert (await one.get(url)).body == b"1::"
        answer = await one.post(url, b"nonsense")
        assert (answer.status, answer.headers["content-type"]) == (400, "text/plain; charset=UTF-8")
        await asyncio.sleep(0)  # the session ends in the next turn
        assert (await one.post(url, b"2::")).body == b"7:::1+0"  # the last answer is for a poll
        assert (await one.get(url)).body == b"0::"
        assert (await one.get(url)).body == b"7:::1+0"


async def test_a_preflight_is_answered() -> None:
    async with site() as one:
        answer = await one.request("OPTIONS", HANDSHAKE, headers={"origin": "https://page.example"})
        assert (answer.status, answer.headers["access-control-allow-methods"]) == (204, "GET, POST")
