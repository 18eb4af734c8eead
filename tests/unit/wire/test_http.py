"""Requests over HTTP: those that are answered, those that are refused, and those that never end."""

import asyncio
import gc
import re
import ssl
from collections.abc import AsyncIterator
from ipaddress import ip_network
from itertools import chain, repeat
from typing import Any, cast

import pytest
import trustme
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from websockets.asyncio.client import connect

from relay.wire.gate import PeerGuard
from relay.wire.http import HttpProtocol
from relay.wire.request_size import MAX_HEAD
from tests.fleet import eventually
from tests.unit.serving import UPGRADE, Recorder, Running, running

HEAD = b"GET /x HTTP/1.1\r\nHost: relay\r\n"


@pytest.fixture
def app() -> Recorder:
    return Recorder()


@pytest.fixture
async def served(app: Recorder) -> AsyncIterator[Running]:
    async with running(app, max_message=256) as one:
        yield one


@pytest.fixture
async def impatient(app: Recorder) -> AsyncIterator[Running]:
    async with running(app, handshake_timeout=0.2) as one:
        yield one


# The methods of uvicorn that are overridden.


@pytest.mark.parametrize(
    "name",
    [
        "_get_upgrade", "_should_upgrade", "_start_asgi_task", "_unset_keepalive_if_required", "connection_lost",
        "connection_made", "data_received", "handle_websocket_upgrade", "on_headers_complete", "on_message_begin",
        "on_message_complete", "on_response_complete", "pause_writing", "resume_writing",
        "timeout_keep_alive_handler",
    ],
)  # fmt: skip
def test_uvicorn_still_has_the_methods_that_are_overridden_or_called(name: str) -> None:
    assert name in vars(HttpToolsProtocol)


async def test_a_connection_has_the_attributes_that_uvicorn_would_give_it(served: Running) -> None:
    async def begun() -> HttpProtocol:
        while not served.server.server_state.connections:
            await asyncio.sleep(0)
        return cast(HttpProtocol, next(iter(served.server.server_state.connections)))

    _, writer = await served.connect()
    one = await begun()
    theirs = vars(HttpToolsProtocol(one.config, one.server_state, one.app_state))
    writer.close()
    of_connection = {"transport", "flow", "server", "client", "scheme"}
    of_process = {"parser", "logger", "access_logger", "access_log", "ws_protocol_class"}
    assert not [name for name in theirs if not hasattr(one, name)]
    for name in set(theirs) - of_connection - of_process:
        assert getattr(one, name) == theirs[name], name


# Requests that are none.


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(b"\x00\x01\x02 garbage\r\n\r\n", 400, id="garbage"),
        pytest.param(b"GET / HTTP/9.9\r\n\r\n", 400, id="version"),
        pytest.param(b"GET  \r\n\r\n", 400, id="no address"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, id="TLS to a plain port"),
        pytest.param(HEAD + b"Content-Length: nine\r\n\r\n", 400, id="length"),
        pytest.param(HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, id="smuggled"),
        pytest.param(HEAD + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n", 431, id="huge header"),
        pytest.param(HEAD + b"X: a\r\n" * 200_000 + b"\r\n", 431, id="many headers"),
        pytest.param(b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n", 431, id="huge address"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, id="no host"),
        pytest.param(HEAD + b"hOsT: relay\r\n\r\n", 400, id="two hosts"),
        pytest.param(HEAD.replace(b"1.1", b"1.0") + b"Host: b\r\n\r\n", 400, id="two hosts in HTTP/1.0"),
        pytest.param((UPGRADE % (b"/", b"")).replace(b"Host", b"Hose"), 400, id="handshake without a host"),
        pytest.param(UPGRADE % (b"/", b"Host: b\r\n"), 400, id="handshake with two hosts"),
        pytest.param(UPGRADE % (b"/\xff\xfe", b""), 400, id="handshake to bytes"),
        pytest.param(UPGRADE % (b"/" + b"a" * 1_000_000, b""), 431, id="handshake to a huge address"),
        pytest.param(UPGRADE % (b"/", b"X: a\r\n" * 200_000), 431, id="handshake with many headers"),
        pytest.param(UPGRADE % (b"/", b"X: " + b"a" * 1_000_000 + b"\r\n"), 431, id="handshake with a huge header"),
        pytest.param((UPGRADE % (b"/", b"")).replace(b"13", b"12"), 400, id="handshake of an old version"),
        pytest.param((UPGRADE % (b"/", b"")).replace(b"==", b""), 400, id="handshake with a bad key"),
        pytest.param((UPGRADE % (b"/", b"")).replace(b"GET", b"POST"), 405, id="handshake by POST"),
        pytest.param((UPGRADE % (b"/", b"")).replace(b"1.1", b"1.0"), 400, id="handshake of HTTP/1.0"),
    ],
)
async def test_bad_request_is_answered(served: Running, app: Recorder, request_bytes: bytes, status: int) -> None:
    answer = await served.ask(request_bytes)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert not app.scopes


async def test_a_bad_request_logs_nothing(served: Running, caplog: pytest.LogCaptureFixture) -> None:
    await served.ask(b"\x1b[2J\r\n\r\n")
    await served.ask(UPGRADE % (b"/\xff", b"X: \x1b[2J\r\n"))
    assert "\x1b" not in caplog.text
    assert not [record for record in caplog.records if record.levelname != "INFO"]


async def test_a_request_without_a_host_gets_the_reason(served: Running) -> None:
    assert (await served.ask(b"GET / HTTP/1.1\r\n\r\n")).endswith(b"has the header Host, once")


@pytest.mark.parametrize("head", [b"GET /x HTTP/1.0\r\n", b"GET /x HTTP/1.1\r\nHost:\r\nConnection: close\r\n"])
async def test_an_older_client_need_not_name_a_host_and_any_may_name_an_empty_one(served: Running, head: bytes) -> None:
    assert (await served.ask(head + b"\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_head_up_to_the_limit_is_served(served: Running) -> None:
    answer = await served.ask(HEAD + b"Connection: close\r\nX: " + b"a" * (MAX_HEAD - 100) + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


POST = b"POST /x HTTP/1.1\r\nHost: relay\r\nTransfer-Encoding: chunked\r\n\r\n"


def head_of(size: int) -> bytes:
    """A whole head of so many bytes."""
    head = HEAD + b"Connection: close\r\nX: "
    return head + b"a" * (size - len(head) - 4) + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(head_of(MAX_HEAD), 200, id="largest head"),
        pytest.param(head_of(MAX_HEAD + 1), 431, id="head one byte too large"),
        pytest.param(HEAD + b"\r\n" * 3 + head_of(MAX_HEAD + 1), 431, id="too large behind another"),
        pytest.param(b"GET /" + b"a" * MAX_HEAD + b" HTTP/1.1\r\n\r\n", 431, id="address"),
        pytest.param(HEAD + b"Connection: close\r\n" + b"a: b\r\n" * 254 + b"\r\n", 200, id="most headers"),
        pytest.param(HEAD + b"a: b\r\n" * 256 + b"\r\n", 431, id="too many headers"),
        pytest.param(HEAD + b"X: a\r\n " + b"b\r\n " * 20_000 + b"\r\n\r\n", (400, 431), id="folded header"),
        pytest.param(POST + b"0\r\n" + b"X: a\r\n" * 10_000 + b"\r\n", 400, id="trailers"),
        pytest.param(POST + b"0\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", 400, id="trailer"),
        pytest.param(POST + b"1;" + b"a" * 100_000 + b"\r\nx\r\n0\r\n\r\n", 400, id="chunk extension"),
        pytest.param(POST + b"1;a\r\nx\r\n" * 20_000 + b"0\r\n\r\n", 400, id="tiny chunks"),
        pytest.param(POST + b"0" * 100_000 + b"1\r\nx\r\n0\r\n\r\n", 400, id="chunk size"),
    ],
)
async def test_every_byte_before_the_application_is_bounded(
    served: Running, request_bytes: bytes, status: int | tuple[int, ...]
) -> None:
    answers = await served.ask(request_bytes)
    last = int(re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)[-1])
    assert last in (status if isinstance(status, tuple) else (status,)), answers[:200]


async def test_trailers_never_become_headers(served: Running, app: Recorder) -> None:
    reader, writer = await served.connect()
    writer.write(POST + b"1\r\nx\r\n0\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n" + HEAD + b"\r\n")
    for _ in range(2):
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
    assert [dict(scope["headers"]).get(b"x-forwarded-for") for scope in app.scopes] == [None, None]
    writer.close()


async def test_a_body_that_goes_on_after_the_answer_is_read_to_a_bound() -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await Recorder()(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"no"})

    async with running(refuse, max_message=256) as served:
        reader, writer = await served.connect()
        writer.write(HEAD + b"Content-Length: 1000000000\r\n\r\n")
        assert await reader.readuntil(b"no")
        with pytest.raises((ConnectionError, RuntimeError)):
            async with asyncio.timeout(30):
                while True:
                    writer.write(b"x" * 65_536)
                    await writer.drain()
                    await asyncio.sleep(0.001)
        writer.close()


async def test_unfinished_heads_are_counted_until_they_are_complete(served: Running) -> None:
    unfinished = served.server._limits.unfinished
    reader, writer = await served.connect()
    writer.write(HEAD + b"X: " + b"a" * 50_000)
    while unfinished.total < 50_000:
        await asyncio.sleep(0)
    writer.write(b"\r\n\r\n")
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
    assert unfinished.total == 0
    writer.write(HEAD + b"X: " + b"a" * 50_000)
    while unfinished.total < 50_000:
        await asyncio.sleep(0)
    protocol = protocol_of(served)
    protocol.hold_back(paused=True)
    assert protocol.flow.read_paused
    protocol.hold_back(paused=False)
    protocol.give_up()
    assert unfinished.total == 0
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()


async def test_beyond_the_idle_connections_of_an_address_the_oldest_is_closed(app: Recorder) -> None:
    async with running(app, http_connections_per_address=3) as served:
        silent, _ = first = await served.connect()
        kept = await served.connect()
        kept[1].write(HEAD + b"\r\n")
        assert await kept[0].readuntil(b"ok")
        websocket = await served.upgrade()  # it does not count any more
        more = [await served.connect() for _ in range(2)]
        assert await silent.read() == b""
        kept[1].write(HEAD + b"\r\n")
        assert await kept[0].readuntil(b"ok")
        for _, writer in (first, kept, websocket, *more):
            writer.close()


async def test_other_protocols_are_answered_in_http(served: Running) -> None:
    answer = await served.ask(HEAD + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0")
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_an_upgraded_connection_keeps_nothing_of_http_in_memory(served: Running) -> None:
    def protocols() -> int:
        return sum(type(one) is HttpProtocol for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = protocols()
        async with connect(f"ws://localhost:{served.port}/") as client:
            await client.send("hello")
            assert await client.recv() == "hello"
            assert protocols() == before
    finally:
        gc.enable()


async def test_a_lost_connection_keeps_no_request_in_memory_that_waited() -> None:
    gone, ended = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await Recorder()(scope, receive, send)
            return
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        gone.set()
        await ended.wait()

    def kept() -> tuple[int, int]:
        found = [one for one in gc.get_objects() if isinstance(one, HttpProtocol | RequestResponseCycle)]
        return sum(isinstance(one, HttpProtocol) for one in found), len(found)

    async with running(app) as served:
        gc.collect()
        gc.disable()
        try:
            before = kept()
            _, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write((HEAD + b"\r\n") * 10)
            await writer.drain()
            writer.transport.abort()
            await gone.wait()
            # The protocol and the cycle of the request that the application has not ended.
            assert kept() == (before[0] + 1, before[1] + 2)
            ended.set()
            await eventually(lambda: kept() == before)
        finally:
            gc.enable()


# Requests that never end.


@pytest.mark.parametrize(
    "beginning",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET / HTTP/1.1\r\nHost:", id="half a head"),
        pytest.param(UPGRADE[:60] % b"/", id="half a handshake"),
        pytest.param(HEAD + b"Content-Length: 100\r\n\r\nhalf a body", id="half a body"),
        pytest.param(HEAD + b"\r\n" + HEAD, id="one and a half"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n", id="half a chunk"),
    ],
)
async def test_half_a_request_is_dropped(impatient: Running, beginning: bytes) -> None:
    reader, writer = await impatient.connect()
    writer.write(beginning)
    if beginning.startswith(HEAD + b"\r\n"):
        assert await reader.readuntil(b"ok")
    async with asyncio.timeout(8):
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
    writer.close()


async def test_dripping_does_not_extend_the_time(impatient: Running) -> None:
    reader, writer = await impatient.connect()
    writer.write(HEAD + b"\r\n")
    await reader.readuntil(b"ok")
    begun = asyncio.get_running_loop().time()
    # uvloop raises RuntimeError when it writes to a connection that it knows to be closed.
    with pytest.raises((ConnectionError, RuntimeError)):
        async with asyncio.timeout(5):
            for piece in chain([b"\r", b"\n", b"\r", b"\n", b"GET / HTTP/1.1\r\nX: "], repeat(b"a")):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.01)
    assert asyncio.get_running_loop().time() - begun < 4
    writer.close()


async def test_garbage_behind_a_request_that_is_being_answered(caplog: pytest.LogCaptureFixture) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            asked.set()
            await answer.wait()
        await Recorder()(scope, receive, send)

    async with running(slow) as served:
        reader, writer = await served.connect()
        writer.write(HEAD + b"\r\n")
        await asked.wait()
        writer.write(b"garbage\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        answer.set()
        writer.close()
    assert not [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]


@pytest.mark.parametrize(
    ("requests", "status"), [((HEAD + b"\r\n") * 18, 429), (HEAD + b"\r\n" + UPGRADE % (b"/", b""), 400)]
)
async def test_requests_that_wait_are_bounded_and_cannot_upgrade(requests: bytes, status: int) -> None:
    answer = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await answer.wait()
        await Recorder()(scope, receive, send)

    async with running(slow) as served:
        assert (await served.ask(requests)).startswith(b"HTTP/1.1 %d " % status)
        answer.set()


async def test_a_client_that_leaves_before_its_answers_logs_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked, answer, answered = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            asked.set()
            await answer.wait()
        await Recorder()(scope, receive, send)
        answered.set()

    for last in (b"", HEAD + b"\r\n" + UPGRADE % (b"/", b"")):
        async with running(slow) as served:
            reader, writer = await served.connect()
            writer.write((HEAD + b"\r\n") * 3 + last)
            await asked.wait()
            if last:
                assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
            else:
                writer.transport.abort()
            answer.set()
            await answered.wait()
            while served.server.server_state.connections:
                await asyncio.sleep(0)
            writer.close()
        for event in (asked, answer, answered):
            event.clear()
    assert not [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]


async def test_as_many_requests_at_once_as_may_wait_are_answered(served: Running) -> None:
    reader, writer = await served.connect()
    writer.write((HEAD + b"\r\n") * 17)
    for _ in range(17):
        await reader.readuntil(b"ok")
    writer.close()


@pytest.mark.parametrize(
    "line", [b"GET http://host HTTP/1.1", b"GET http://a:99999/ HTTP/1.1", b"CONNECT a:443 HTTP/1.1"]
)
async def test_an_address_that_cannot_be_read_is_a_bad_request(served: Running, line: bytes) -> None:
    assert (await served.ask(line + b"\r\nHost: relay\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_reading_on_does_not_stop_the_clock_of_half_a_request(served: Running, monkeypatch: Any) -> None:
    made: list[HttpProtocol] = []
    connection_made = HttpProtocol.connection_made
    monkeypatch.setattr(
        HttpProtocol, "connection_made", lambda self, transport: made.append(self) or connection_made(self, transport)
    )
    reader, writer = await served.connect()
    writer.write(HEAD + b"\r\n")
    await reader.readuntil(b"ok")
    [protocol] = made
    protocol.pause_writing()
    protocol.data_received(HEAD)
    protocol.resume_writing()
    assert protocol._deadline is not None
    writer.close()


async def test_silent_tls_handshake_is_dropped(app: Recorder) -> None:
    authority = trustme.CA()
    tls, trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(tls)
    authority.configure_trust(trust)
    async with running(app, tls=tls, handshake_timeout=0.2) as served:
        reader, writer = await served.connect()
        async with asyncio.timeout(5):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        writer.close()
        async with connect(f"wss://localhost:{served.port}/", ssl=trust) as websocket:
            await websocket.send("over TLS")
            assert await websocket.recv() == "over TLS"


# The clock, as uvicorn and the transport start and stop it.


def protocol_of(running_: Running) -> HttpProtocol:
    """The server's side of the only connection."""
    (protocol,) = [one for one in running_.server.server_state.connections if isinstance(one, HttpProtocol)]
    return protocol


async def test_a_connection_whose_keep_alive_time_is_over_is_closed(served: Running) -> None:
    reader, writer = await served.connect()
    writer.write(HEAD + b"\r\n")
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
    protocol_of(served).timeout_keep_alive_handler()
    assert await reader.read() == b""
    writer.close()


async def test_a_client_that_reads_on_in_time_is_served_further(impatient: Running) -> None:
    reader, writer = await impatient.connect()
    writer.write(HEAD + b"\r\n")
    await reader.readuntil(b"ok")
    protocol = protocol_of(impatient)
    protocol.pause_writing()
    protocol.resume_writing()
    await asyncio.sleep(0.3)  # longer than the time that the clock gives
    writer.write(HEAD + b"\r\n")
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
    protocol.pause_writing()
    assert await reader.read() == b""
    writer.close()


async def test_a_large_body_that_arrives_slowly_has_more_time_as_long_as_it_arrives(served: Running) -> None:
    reader, writer = await served.connect()
    writer.write(HEAD + b"\r\n")
    await reader.readuntil(b"ok")
    protocol = protocol_of(served)
    protocol.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
    for _ in range(3):
        protocol.data_received(b"x" * 70_000)
        protocol._time_out()
        assert not protocol.transport.is_closing()
        assert protocol._deadline is not None
    protocol.data_received(b"x" * 1_000)
    protocol._time_out()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()


async def test_a_large_answer_that_is_taken_slowly_has_more_time_as_long_as_it_is_taken(
    served: Running, monkeypatch: Any
) -> None:
    reader, writer = await served.connect()
    writer.write(HEAD + b"\r\n")
    await reader.readuntil(b"ok")
    protocol, waiting = protocol_of(served), 1_500_000

    class Slow:
        def __init__(self, transport: Any) -> None:
            self._transport = transport

        def __getattr__(self, name: str) -> Any:
            return getattr(self._transport, name)

        def get_write_buffer_size(self) -> int:
            return waiting

    monkeypatch.setattr(protocol, "transport", Slow(protocol.transport))
    protocol.pause_writing()
    for _ in range(3):
        waiting -= 100_000
        protocol._time_out()
        assert not protocol.transport.is_closing()
    protocol._time_out()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()


# The port for other workers.


@pytest.mark.parametrize(
    ("peer", "admitted"),
    [
        (("10.1.2.3", 1), True),
        (("10.2.0.1", 1), False),
        (("fe80::1%eth0", 1), True),
        (("::1", 1), False),
        (("::ffff:10.1.2.3", 1), False),
        (None, False),
    ],
)
def test_a_guard_admits_peers_of_its_networks(peer: tuple[str, int] | None, admitted: bool) -> None:
    strangers: list[None] = []
    guard = PeerGuard([ip_network("10.1.0.0/16"), ip_network("fe80::/10")], lambda: strangers.append(None))
    assert guard.admits(peer) is admitted
    assert len(strangers) == (not admitted)
