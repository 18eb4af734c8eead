"""Polls and posts: how they wait, how they are broken off, and which pages may read the answers."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from relay.gateways.socketio.engine import EngineSession
from relay.gateways.socketio.gateway import STATE
from relay.model.codec import Frame
from tests.unit.gateways.socketio.clients import Site, site

POLLING = "/socket.io/?EIO=4&transport=polling"


@pytest.fixture
async def one() -> AsyncIterator[Site]:
    async with site(max_message=1024, allowed_origins=("https://good.example",)) as one:
        yield one


@pytest.fixture
async def begun(one: Site) -> tuple[str, EngineSession]:
    """A session that polls: the address of its requests, and itself."""
    sid = (await one.get(POLLING)).headers["x-engine-sid"]
    sessions: Any = one.state[STATE]
    return f"{POLLING}&sid={sid}", sessions.get(sid)


async def turns(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def test_a_poll_waits_for_something_to_be_sent(one: Site, begun: tuple[str, EngineSession]) -> None:
    url, session = begun
    poll = asyncio.create_task(one.get(url))
    await asyncio.sleep(0.01)
    assert not poll.done()
    session.connection.write(Frame(b"4a"))
    assert (await poll).body == b"4a"


async def test_a_poll_that_is_dropped_ends_the_session(one: Site, begun: tuple[str, EngineSession]) -> None:
    url, _ = begun
    poll = asyncio.create_task(one.get(url))
    await asyncio.sleep(0.01)
    one.dropped.set()
    assert (await poll).status == 0
    assert (await one.get(url)).status == 400
    assert one.worker.metrics.closed.labels("lost")._value.get() == 1


async def test_overlapping_polls_end_the_session(one: Site, begun: tuple[str, EngineSession]) -> None:
    url, _ = begun
    poll = asyncio.create_task(one.get(url))
    await asyncio.sleep(0.01)
    second = await one.get(url)
    assert (second.status, json.loads(second.body)["error"]["code"]) == (400, "poll_overlap")
    assert (await poll).body == b"1"


async def test_overlapping_posts_end_the_session(one: Site, begun: tuple[str, EngineSession]) -> None:
    url, session = begun
    session.pause_reading(paused=True)
    post = asyncio.create_task(one.post(url, b"40"))
    await asyncio.sleep(0.01)
    assert not post.done()
    second = await one.post(url, b"40")
    assert json.loads(second.body)["error"]["code"] == "poll_overlap"
    assert (await post).status == 200  # it was read, and the end of the session lets it go


async def test_a_post_is_answered_when_the_relay_reads_on(one: Site, begun: tuple[str, EngineSession]) -> None:
    url, session = begun
    session.pause_reading(paused=True)
    post = asyncio.create_task(one.post(url, b"40"))
    await asyncio.sleep(0.01)
    assert not post.done()
    session.pause_reading(paused=False)
    assert (await post).body == b"ok"
    assert (await one.get(url)).body.startswith(b"40")


async def test_a_bad_packet_in_a_post_is_answered_counted_once_and_ends_the_session(
    one: Site, begun: tuple[str, EngineSession]
) -> None:
    url, session = begun
    session.polled()
    answer = await one.post(url, b"4nonsense")
    assert json.loads(answer.body)["error"]["code"] == "bad_packet"
    assert one.worker.metrics.errors.labels("socketio", "bad_packet")._value.get() == 1
    assert (await one.get(url)).body == b"1"


async def test_a_post_that_is_too_large_is_refused_and_the_session_goes_on(
    one: Site, begun: tuple[str, EngineSession]
) -> None:
    url, _ = begun
    answer = await one.post(url, b"4" * (16 * 1024 + 1))
    assert (answer.status, answer.body) == (413, b"")
    assert (await one.post(url, b"40")).status == 200


@pytest.mark.parametrize("kind", ["application/octet-stream", "Application/Octet-Stream; charset=x"])
async def test_the_media_type_tells_a_binary_payload(one: Site, kind: str) -> None:
    sid = (await one.get("/socket.io/?EIO=3&transport=polling")).headers["x-engine-sid"]
    url = f"/socket.io/?EIO=3&transport=polling&sid={sid}"
    body = b"\0\x01\x01\xff" + b'421["hello"]'[:11]
    assert (await one.post(url, b"\0\x01\x02\xff" + b'421["hello"]', headers={"content-type": kind})).status == 200
    assert (await one.get(url)).headers["content-type"] == "application/octet-stream"
    assert (await one.post(url, body)).status == 400  # which is none as text


@pytest.mark.parametrize(("origin", "allowed"), [("https://good.example", True), ("https://bad.example", False)])
async def test_only_pages_of_allowed_origins_may_read_an_answer(one: Site, origin: str, allowed: bool) -> None:
    headers = {"origin": origin, "access-control-request-headers": "x-mine"}
    answer = await one.request("OPTIONS", POLLING, headers=headers)
    assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
    assert answer.headers.get("access-control-allow-credentials") == ("true" if allowed else None)
    assert answer.headers.get("access-control-allow-headers") == ("x-mine" if allowed else None)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_poll_that_a_load_balancer_repeats_gets_the_same_answer(
    one: Site, begun: tuple[str, EngineSession]
) -> None:
    url, session = begun
    session.connection.write(Frame(b"4a"))
    assert [(await one.get(f"{url}&t=x1")).body for _ in range(3)] == [b"4a"] * 3
    session.connection.write(Frame(b"4b"))
    assert (await one.get(f"{url}&t=x1")).body == b"4a"
    assert [(await one.get(f"{url}&t=x2")).body for _ in range(2)] == [b"4b"] * 2


@pytest.mark.parametrize("mark", ["", "&t=1700000000", "&t=PVX4O6x"])
async def test_polls_whose_marks_are_alike_are_not_taken_for_repeated_ones(one: Site, mark: str) -> None:
    """Some clients give the time in seconds, or the same constant in all requests, that of the handshake included."""
    sid = (await one.get(f"{POLLING}&t=PVX4O6x")).headers["x-engine-sid"]
    sessions: Any = one.state[STATE]
    session = sessions.get(sid)
    for data in (b"4a", b"4b"):
        session.connection.write(Frame(data))
        assert (await one.get(f"{POLLING}&sid={sid}{mark}")).body == data


async def test_nobody_at_another_address_speaks_for_a_session_whose_id_is_known(
    one: Site, begun: tuple[str, EngineSession]
) -> None:
    url, session = begun
    other = ("10.0.0.9", 1000)
    assert (await one.request("POST", url, b"40", client=other)).status == 200
    session.announced = True
    for method in ("GET", "POST"):
        refused = await one.request(method, url, b"40", client=other)
        assert json.loads(refused.body)["code"] == 1
    assert json.loads((await one.refused_socket(url.replace("polling", "websocket"), client=other)).body)["code"] == 1
    assert (await one.request("POST", url, b"40")).status == 200
