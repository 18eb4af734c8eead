"""Responses that are held: handed over by the ASGI call, and sent after it has returned."""

import asyncio
import gc
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trustme
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from relay.rooms.held_response import HOLD_EXTENSION, HeldResponse
from relay.wire.held import HeldProtocol
from relay.wire.http import HttpProtocol
from tests.fleet import eventually
from tests.unit.serving import Recorder, Running, running

GET = b"GET /held HTTP/1.1\r\nHost: relay\r\n\r\n"


class Holder:
    """Holds the response to each request for `/held`, and answers all others; `send` is ASGI's, while it is there."""

    def __init__(self) -> None:
        self.held: asyncio.Queue[HeldResponse | None] = asyncio.Queue()
        self.recorder = Recorder()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/held":
            await self.recorder(scope, receive, send)
            return
        response = scope["extensions"][HOLD_EXTENSION]()
        self.held.put_nowait(response)
        if response is None:
            await self.recorder(scope, receive, send)

    async def next(self) -> HeldResponse:
        async with asyncio.timeout(20):
            response = await self.held.get()
        assert response is not None
        return response


@pytest.fixture
def app() -> Holder:
    return Holder()


@pytest.fixture
async def served(app: Holder) -> AsyncIterator[Running]:
    async with running(app) as one:
        yield one


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def answer(response: HeldResponse, text: bytes = b"late") -> None:
    await response.send(start(200, (b"content-length", b"%d" % len(text))))
    await response.send(body(text))


async def held_by(served: Running, app: Holder, request: bytes = GET) -> tuple[Any, Any, HeldResponse]:
    reader, writer = await served.connect()
    writer.write(request)
    return reader, writer, await app.next()


# The response.


async def test_a_response_is_sent_after_the_call_and_the_connection_serves_further_requests(
    served: Running, app: Holder
) -> None:
    reader, writer, response = await held_by(served, app)
    for _ in range(3):
        await eventually(lambda: not served.server.server_state.tasks)
        await answer(response)
        head, _, text = (await reader.readuntil(b"late")).partition(b"\r\n\r\n")
        assert (head.startswith(b"HTTP/1.1 200 OK\r\n"), text) == (True, b"late")
        assert b"date: " in head
        assert not {b"transfer-encoding", b"connection"} & {line.partition(b":")[0] for line in head.split(b"\r\n")}
        writer.write(GET.replace(b"/held", b"/x"))
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.write(GET)
        response = await app.next()
    writer.close()


async def test_a_response_without_a_length_comes_in_chunks(served: Running, app: Holder) -> None:
    reader, writer, response = await held_by(served, app)
    await response.send(start())
    assert b"transfer-encoding: chunked\r\n" in await reader.readuntil(b"\r\n\r\n")
    await response.send(body(b"one", more=True))
    await response.send(body(b"", more=True))
    assert await reader.readuntil(b"one\r\n") == b"3\r\none\r\n"
    await response.send(body(b"two"))
    assert await reader.readuntil(b"0\r\n\r\n") == b"3\r\ntwo\r\n0\r\n\r\n"
    writer.close()


async def test_a_response_to_http_1_0_without_a_length_ends_with_the_connection(served: Running, app: Holder) -> None:
    reader, writer, response = await held_by(served, app, GET.replace(b"1.1", b"1.0"))
    await response.send(start())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"\r\nconnection: close\r\n" in head
    await response.send(body(b"one", more=True))
    await response.send(body(b"two"))
    assert await reader.read() == b"onetwo"
    writer.close()


async def test_a_response_without_a_body_has_no_chunks(served: Running, app: Holder) -> None:
    reader, writer, response = await held_by(served, app)
    await response.send(start(204))
    await response.send(body(b""))
    assert b"transfer-encoding" not in await reader.readuntil(b"\r\n\r\n")
    writer.write(GET.replace(b"/held", b"/x"))
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()


@pytest.mark.parametrize(
    "request_bytes", [GET.replace(b"1.1", b"1.0"), GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")]
)
async def test_a_connection_that_is_not_to_stay_open_is_closed_after_the_response(
    served: Running, app: Holder, request_bytes: bytes
) -> None:
    reader, writer, response = await held_by(served, app, request_bytes)
    await answer(response)
    whole = await reader.read()
    assert b"\r\nconnection: close\r\n" in whole
    assert whole.endswith(b"late")
    await eventually(lambda: not served.server.server_state.connections)
    writer.close()


async def test_a_header_with_a_control_character_is_an_error_of_the_application(served: Running, app: Holder) -> None:
    _, writer, response = await held_by(served, app)
    with pytest.raises(RuntimeError, match="control character"):
        await response.send(start(200, (b"x", b"a\r\nb: c")))
    writer.close()


async def test_a_response_is_held_over_tls(app: Holder) -> None:
    authority = trustme.CA()
    tls, trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(tls)
    authority.configure_trust(trust)
    async with running(app, tls=tls) as served:
        reader, writer = await asyncio.open_connection("localhost", served.port, ssl=trust)
        for _ in range(2):
            writer.write(GET)
            await answer(await app.next())
            assert (await reader.readuntil(b"late")).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()


# Requests whose response is not handed over.


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(GET + GET.replace(b"/held", b"/x"), id="another request waits"),
        pytest.param(GET + b"GET /x", id="another request arrives"),
        pytest.param(GET.replace(b"GET", b"HEAD"), id="HEAD"),
        pytest.param(b"POST" + GET[3:-2] + b"Content-Length: 5\r\n\r\nabc", id="body"),
        pytest.param(GET[:-2] + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", id="upgrade"),
    ],
)
async def test_a_response_stays_with_the_call_where_more_than_the_request_is_there(
    served: Running, app: Holder, request_bytes: bytes
) -> None:
    reader, writer = await served.connect()
    writer.write(request_bytes)
    async with asyncio.timeout(20):
        assert await app.held.get() is None
    if request_bytes.endswith(b"abc"):
        writer.write(b"de")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()


async def test_a_response_that_has_begun_or_was_handed_over_stays_where_it_is() -> None:
    taken: list[HeldResponse | None] = []

    async def begun(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send(start(200, (b"content-length", b"2")))
            taken.append(scope["extensions"][HOLD_EXTENSION]())
            await send(body(b"ok"))
            taken.append(scope["extensions"][HOLD_EXTENSION]())
            return
        await Recorder()(scope, receive, send)

    async with running(begun) as served:
        reader, writer = await served.connect()
        writer.write(GET)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 OK\r\n")
        await eventually(lambda: taken == [None, None])
        writer.close()


# Events that arrive meanwhile.


async def test_requests_that_come_before_the_response_are_served_after_it(served: Running, app: Holder) -> None:
    reader, writer, response = await held_by(served, app)
    writer.write(GET.replace(b"/held", b"/x") + GET.replace(b"/held", b"/y")[:20])
    await eventually(lambda: isinstance(response, HeldProtocol) and response._arrived)
    assert not app.recorder.scopes
    await answer(response)
    assert b"late" in await reader.readuntil(b"late")
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.write(GET.replace(b"/held", b"/y")[20:])
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 OK\r\n")
    assert [scope["path"] for scope in app.recorder.scopes] == ["/x", "/y"]
    writer.close()


async def test_of_much_that_comes_before_the_response_a_part_is_read_and_counted(served: Running, app: Holder) -> None:
    unfinished = served.server._limits.unfinished
    reader, writer, response = await held_by(served, app)
    writer.write(GET.replace(b"/held", b"/x?" + b"a" * 20_000))
    await eventually(lambda: unfinished.total > 8192)
    assert isinstance(response, HeldProtocol)
    assert response.read_paused
    assert not response.arriving
    response.hold_back(paused=False)
    await answer(response)
    await reader.readuntil(b"late")
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 OK\r\n")
    assert unfinished.total == 0
    writer.close()


async def test_a_connection_that_keeps_too_much_is_given_up(served: Running, app: Holder) -> None:
    unfinished = served.server._limits.unfinished
    reader, writer, response = await held_by(served, app)
    writer.write(b"x" * 20_000)
    await eventually(lambda: unfinished.total > 8192)
    assert isinstance(response, HeldProtocol)
    response.give_up()
    assert unfinished.total == 0
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    assert response.dropped
    writer.close()


async def test_an_address_has_no_more_connections_for_those_that_are_held(app: Holder) -> None:
    async with running(app, http_connections_per_address=1, connections_per_address=1) as served:
        # 1 idle connection, and 2 for the session.
        streams = [await held_by(served, app) for _ in range(3)]
        reader, writer = await served.connect()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        await answer(streams[0][2])
        await streams[0][0].readuntil(b"late")
        streams[0][1].write(GET)
        again = await app.next()
        streams[1][1].transport.abort()
        await eventually(lambda: streams[1][2].dropped)
        more = await held_by(served, app)
        assert not again.dropped
        for _, other, _ in (*streams, more):
            other.close()


# The end of the connection.


async def test_a_client_that_drops_its_request_is_reported_once(served: Running, app: Holder) -> None:
    _, writer, response = await held_by(served, app)
    called: list[str] = []
    response.when_dropped(lambda: called.append("replaced"))
    response.when_dropped(lambda: called.append("first"))
    writer.transport.abort()
    await eventually(lambda: response.dropped)
    response.when_dropped(lambda: called.append("second"))
    response.when_dropped(None)
    assert called == ["first", "second"]
    await answer(response)
    response.abort()
    assert not served.server.server_state.connections


async def test_a_connection_that_ends_after_the_response_was_not_dropped(served: Running, app: Holder) -> None:
    reader, writer, response = await held_by(served, app, GET.replace(b"1.1", b"1.0"))
    response.when_dropped(lambda: pytest.fail("the response is complete"))
    await answer(response)
    await reader.read()
    response.abort()
    writer.close()
    await eventually(lambda: not served.server.server_state.connections)
    assert not response.dropped


async def test_an_aborted_response_ends_the_connection(served: Running, app: Holder) -> None:
    reader, writer, response = await held_by(served, app)
    response.abort()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    await eventually(lambda: response.dropped)
    writer.close()


async def test_a_server_that_stops_closes_after_the_response(served: Running, app: Holder) -> None:
    reader, writer, response = await held_by(served, app)
    assert isinstance(response, HeldProtocol)
    response.shutdown()
    await answer(response)
    assert (await reader.read()).endswith(b"late")
    writer.close()


async def test_a_server_that_stops_aborts_a_response_that_does_not_come(app: Holder) -> None:
    async with running(app) as served:
        _, writer, response = await held_by(served, app)
        served.server.stop()
        async with asyncio.timeout(20):
            await served.task
        assert response.dropped
        writer.close()


# A client that reads slowly.


async def test_sending_waits_for_a_client_that_reads_slowly(served: Running, app: Holder) -> None:
    reader, writer, response = await held_by(served, app)
    assert isinstance(response, HeldProtocol)
    await response.send(start(200, (b"content-length", b"5")))
    response.pause_writing()
    assert response._deadline is not None
    sending = asyncio.create_task(response.send(body(b"hello")))
    await reader.readuntil(b"\r\n\r\n")
    assert not sending.done()
    response.resume_writing()
    await sending
    assert response._deadline is None
    assert await reader.readexactly(5) == b"hello"
    writer.close()


async def test_sending_ends_when_the_client_is_gone(served: Running, app: Holder) -> None:
    _, writer, response = await held_by(served, app)
    assert isinstance(response, HeldProtocol)
    response.pause_writing()
    sending = asyncio.create_task(response.send(start()))
    writer.transport.abort()
    async with asyncio.timeout(20):
        await sending
    assert response.dropped


async def test_a_client_that_reads_nothing_in_time_is_dropped(app: Holder) -> None:
    async with running(app, handshake_timeout=0.2) as served:
        _, writer, response = await held_by(served, app)
        assert isinstance(response, HeldProtocol)
        response.pause_writing()
        await eventually(lambda: response.dropped)
        writer.close()


async def test_a_client_that_takes_a_large_response_slowly_has_more_time(
    served: Running, app: Holder, monkeypatch: Any
) -> None:
    _, writer, response = await held_by(served, app)
    assert isinstance(response, HeldProtocol)
    waiting = 300_000

    class Slow:
        def __init__(self, transport: Any) -> None:
            self._transport = transport

        def __getattr__(self, name: str) -> Any:
            return getattr(self._transport, name)

        def get_write_buffer_size(self) -> int:
            return waiting

    monkeypatch.setattr(response, "transport", Slow(response.transport))
    response.pause_writing()
    for _ in range(2):
        waiting -= 100_000
        response._time_out()
        assert not response.transport.is_closing()
        assert response._deadline is not None
    response._time_out()
    await eventually(lambda: response.dropped)
    writer.close()


async def test_a_pause_of_writing_goes_along_with_the_connection(served: Running, app: Holder) -> None:
    reader, writer, response = await held_by(served, app)
    assert isinstance(response, HeldProtocol)
    await response.send(start(200, (b"content-length", b"0")))
    response.pause_writing()
    response._write(b"", last=True)
    await reader.readuntil(b"\r\n\r\n")
    (protocol,) = served.server.server_state.connections
    assert isinstance(protocol, HttpProtocol)
    assert protocol.flow.write_paused
    assert protocol._deadline is not None
    protocol.resume_writing()
    assert protocol._deadline is None
    writer.close()


# Memory.


async def test_a_held_response_keeps_nothing_of_the_call(served: Running, app: Holder) -> None:
    def kept() -> list[int]:
        counts = Counter(map(type, gc.get_objects()))
        return [counts[kind] for kind in (HttpProtocol, RequestResponseCycle, HeldProtocol)]

    gc.collect()
    gc.disable()
    try:
        before = kept()
        reader, writer, response = await held_by(served, app)
        await eventually(lambda: kept() == [before[0], before[1], before[2] + 1])
        await answer(response)
        await reader.readuntil(b"late")
        writer.close()
        del response
        await eventually(lambda: kept() == before)
    finally:
        gc.enable()
