"""What a server does with clients that are slow, lost, stuck or not talking HTTP at all."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from itertools import chain, repeat
from typing import Any

import pytest
import trustme
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from relay.model.codec import Frame
from relay.rooms.keepalive import Keepalive
from relay.wire.http import MAX_HEAD, HttpProtocol
from relay.wire.websocket import WebSocketProtocol, WireLimits, _Parser
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


class FakeTransport(asyncio.Transport):
    """Keeps what is written, and knows whether it is to read."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.wrote = asyncio.Event()
        self.reading = True
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data
        self.wrote.set()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class FakeReceiver:
    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.ended: list[int] = []

    def received(self, frame: Frame) -> None:
        self.texts.append(frame.data)

    def disconnected(self, code: int, relay_closed: str | None) -> None:
        self.ended.append(code)


def protocol_of(transport: FakeTransport, receiver: FakeReceiver) -> WebSocketProtocol:
    pacer: Any = None
    return WebSocketProtocol(transport, WireLimits(2000, 1000, Keepalive(25, 20), pacer, set()), receiver)


def masked(first: int, data: bytes) -> bytes:
    return bytes([first, 0x80 | len(data), 0, 0, 0, 0]) + data


# What is built upon.


@pytest.mark.parametrize(
    "name",
    [
        "_get_upgrade", "_should_upgrade", "_start_asgi_task", "_unset_keepalive_if_required", "connection_lost",
        "connection_made", "data_received", "handle_websocket_upgrade", "on_headers_complete", "on_message_begin",
        "on_message_complete", "on_response_complete", "pause_writing", "resume_writing",
        "timeout_keep_alive_handler",
    ],
)  # fmt: skip
def test_the_servers_protocol_still_has_what_is_overridden_or_called(name: str) -> None:
    assert name in vars(HttpToolsProtocol)


def test_the_parser_still_shows_whether_it_is_at_rest() -> None:
    parser = _Parser(1000)
    assert parser.at_rest
    for byte in b"\x81\x82\x00\x00\x00\x00h":
        parser.receive_data(bytes([byte]))
        assert not parser.at_rest
    parser.receive_data(b"i")
    assert parser.at_rest
    parser.receive_data(b"\x01\x80\x00\x00\x00\x00")
    assert not parser.at_rest, "a message is begun"


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
        pytest.param(UPGRADE % (b"/\xff\xfe", b""), 400, id="handshake to bytes"),
        pytest.param(UPGRADE % (b"/" + b"a" * 10_000, b""), 414, id="handshake to a long address"),
        pytest.param(UPGRADE % (b"/", b"X: a\r\n" * 500), 431, id="handshake with many headers"),
        pytest.param(UPGRADE % (b"/", b"X: " + b"a" * 20_000 + b"\r\n"), 431, id="handshake with a long header"),
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


async def test_bad_request_says_nothing_in_the_log(served: Running, caplog: pytest.LogCaptureFixture) -> None:
    await served.ask(b"\x1b[2J\r\n\r\n")
    await served.ask(UPGRADE % (b"/\xff", b"X: \x1b[2J\r\n"))
    assert "\x1b" not in caplog.text
    assert not [record for record in caplog.records if record.levelname != "INFO"]


async def test_head_up_to_the_limit_is_served(served: Running) -> None:
    answer = await served.ask(HEAD + b"Connection: close\r\nX: " + b"a" * (MAX_HEAD - 100) + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_other_protocols_are_answered_in_http(served: Running) -> None:
    answer = await served.ask(HEAD + b"Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


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
    with pytest.raises(ConnectionError):
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
async def test_what_comes_before_there_is_an_answer_is_bounded_and_no_upgrade(requests: bytes, status: int) -> None:
    answer = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await answer.wait()
        await Recorder()(scope, receive, send)

    async with running(slow) as served:
        assert (await served.ask(requests)).startswith(b"HTTP/1.1 %d " % status)
        answer.set()


async def test_who_goes_while_several_requests_are_answered_says_nothing_in_the_log(
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


async def test_a_burst_over_tls_is_heard_to_its_end_though_the_client_is_gone(app: Recorder) -> None:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    async with running(app, tls=server) as served:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", served.port, ssl=client, server_hostname="localhost"
        )
        writer.write(UPGRADE % (b"/", b""))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"".join([masked(0x81, b"%d" % number) for number in range(300)]) + masked(0x88, b"\x03\xe8"))
        writer.close()
        heard = [await app.heard.get() for _ in range(301)]
    assert [message.get("text") for message in heard[:300]] == [str(number) for number in range(300)]
    assert heard[300]["code"] == 1000


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


async def test_a_subprotocol_that_is_no_token_is_not_offered(served: Running, app: Recorder) -> None:
    offered = "Sec-WebSocket-Protocol: a b, é, good\r\n".encode("latin-1")
    reader, writer = await served.connect()
    writer.write(UPGRADE % (b"/", offered))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    assert app.scopes[0]["subprotocols"] == ["good"]
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


# How a WebSocket ends.


async def last_heard(app: Recorder) -> int:
    async with asyncio.timeout(5):
        while (message := await app.heard.get())["type"] != "websocket.disconnect":
            pass
    code: int = message["code"]
    return code


@pytest.mark.parametrize("first", [0x81, 0x89])
async def test_nobody_is_read_for_longer_than_one_turn_and_all_is_read_in_order(first: int) -> None:
    transport, receiver = FakeTransport(), FakeReceiver()
    protocol = protocol_of(transport, receiver)
    sent = [b"%d" % number for number in range(3000)]
    protocol.data_received(b"".join(masked(first, data) for data in sent))

    def got() -> list[bytes]:
        pongs = [one[1:] for one in transport.written.split(b"\x8a") if one]
        return receiver.texts if first == 0x81 else pongs

    turns = 1
    while not transport.reading:
        assert len(got()) < 500 * turns
        await asyncio.sleep(0)
        turns += 1
    assert turns > 5
    assert got() == sent


async def test_who_is_held_back_in_the_middle_of_a_turn_is_read_on_later() -> None:
    transport, receiver = FakeTransport(), FakeReceiver()
    protocol = protocol_of(transport, receiver)
    protocol.data_received(masked(0x81, b"x") * 200)
    protocol.pause_reading(paused=True)
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(receiver.texts) < 100
    protocol.pause_reading(paused=False)
    while not transport.reading:
        await asyncio.sleep(0)
    assert len(receiver.texts) == 200


async def test_who_does_not_read_is_sent_no_pongs() -> None:
    transport = FakeTransport()
    protocol = protocol_of(transport, FakeReceiver())
    protocol.pause_writing()
    protocol.data_received(masked(0x89, b"one") * 20)
    protocol.data_received(masked(0x89, b"two"))
    assert transport.written == b""
    protocol.resume_writing()
    assert transport.written == b"\x8a\x03two"  # the latest stands for all


async def test_what_came_before_the_end_is_read_before_it_is_told() -> None:
    transport, receiver = FakeTransport(), FakeReceiver()
    protocol = protocol_of(transport, receiver)
    protocol.data_received(masked(0x81, b"x") * 300)
    transport.closing = True
    await asyncio.sleep(0)
    protocol.pause_reading(paused=True)
    protocol.connection_lost(None)
    assert receiver.ended == []
    while not receiver.ended:
        await asyncio.sleep(0)
    assert (len(receiver.texts), receiver.ended) == (300, [1006])


async def test_what_the_relay_has_closed_is_not_read_to_the_end() -> None:
    transport, receiver = FakeTransport(), FakeReceiver()
    protocol = protocol_of(transport, receiver)
    protocol.data_received(masked(0x81, b"x") * 300)
    protocol.close(4000, "slow")
    protocol.connection_lost(None)
    assert receiver.ended == [1006]
    assert len(receiver.texts) < 100


async def test_what_is_handed_over_after_a_pause_does_not_stop_the_reading() -> None:
    transport, receiver = FakeTransport(), FakeReceiver()
    protocol = protocol_of(transport, receiver)
    protocol.data_received(masked(0x81, b"x") * 70)
    protocol.data_received(masked(0x81, b"x"))
    await asyncio.sleep(0)
    assert (len(receiver.texts), transport.reading) == (71, True)


async def test_lost_connection_is_1006(served: Running, app: Recorder) -> None:
    _, writer = await served.upgrade()
    writer.transport.abort()
    assert await last_heard(app) == 1006


async def test_end_of_stream_without_a_close_is_1006(served: Running, app: Recorder) -> None:
    _, writer = await served.upgrade()
    writer.write_eof()
    assert await last_heard(app) == 1006
    writer.close()


async def test_close_without_a_code_is_1005(served: Running, app: Recorder) -> None:
    reader, writer = await served.upgrade()
    writer.write(b"\x88\x80\x00\x00\x00\x00")
    assert await last_heard(app) == 1005
    assert b"\x88\x00" in await reader.read()
    writer.close()


async def test_close_code_of_the_client_is_kept(served: Running, app: Recorder) -> None:
    async with connect(served.ws) as websocket:
        await websocket.close(1001)
    assert await last_heard(app) == 1001


async def test_client_may_leave_in_the_middle_of_a_message(served: Running, app: Recorder) -> None:
    reader, writer = await served.upgrade()
    writer.write(b"\x01\x82\x00\x00\x00\x00hi" + b"\x88\x82\x00\x00\x00\x00\x03\xe8")
    assert await reader.read() == b"\x88\x02\x03\xe8"
    assert await last_heard(app) == 1000
    writer.close()


async def test_client_without_pongs_is_closed_4001(app: Recorder) -> None:
    async with running(app, ping_interval=0.05, ping_timeout=0.05) as served:
        reader, writer = await served.upgrade()
        async with asyncio.timeout(5):
            received = await reader.read()
        assert b"\x0f\xa1pong_timeout" in received
        assert await last_heard(app) == 4001
        writer.close()


async def test_client_with_pongs_stays(app: Recorder) -> None:
    async with running(app, ping_interval=0.05, ping_timeout=5) as served:
        reader, writer = await served.upgrade()
        for _ in range(5):
            ping = await reader.readexactly(6)
            assert ping[:2] == b"\x89\x04"
            writer.write(b"\x8a\x84\x00\x00\x00\x00" + ping[2:])
        writer.write(b"\x81\x82\x00\x00\x00\x00hi")
        assert (await app.heard.get())["text"] == "hi"
        writer.close()


async def test_a_receiver_with_a_heartbeat_of_its_own_gets_no_websocket_pings() -> None:
    pacer: Any = None
    limits = WireLimits(2000, 1000, Keepalive(0.02, 5), pacer, set())
    pinged, quiet = FakeTransport(), FakeTransport()
    for transport, keepalive in ((pinged, True), (quiet, False)):
        protocol = WebSocketProtocol(transport, limits, FakeReceiver())
        protocol.opened()
        protocol.attach(FakeReceiver(), keepalive=keepalive)
    async with asyncio.timeout(5):
        while pinged.written.count(b"\x89\x04ping") < 3:
            await pinged.wrote.wait()
            pinged.wrote.clear()
    assert quiet.written == b""


async def test_client_that_is_not_read_is_not_blamed_for_its_pongs(app: Recorder) -> None:
    read_on = asyncio.Event()

    async def busy(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            app.scopes.append(scope)
            await receive()
            await send({"type": "websocket.accept"})
            await read_on.wait()
            while (message := dict(await receive()))["type"] != "websocket.disconnect":
                app.heard.put_nowait(message)
        else:
            await app(scope, receive, send)

    async with running(busy, ping_interval=0.05, ping_timeout=0.05) as served:
        reader, writer = await served.upgrade()
        writer.write(b"\x81\x82\x00\x00\x00\x00hi")
        ping = await reader.readexactly(6)
        writer.write(b"\x8a\x84\x00\x00\x00\x00" + ping[2:])
        await asyncio.sleep(0.2)  # four times what it has for its pong
        assert not reader.at_eof()
        read_on.set()
        assert (await app.heard.get())["text"] == "hi"
        writer.close()


async def test_too_large_frame_is_closed_1009_and_the_client_learns_it(served: Running, app: Recorder) -> None:
    async with connect(served.ws) as websocket:
        with pytest.raises(ConnectionClosed) as closed:
            await websocket.send("x" * 1_000_000)
            await websocket.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1009, "too_large")
    assert await last_heard(app) == 1009


async def test_largest_frame_is_taken(served: Running) -> None:
    async with connect(served.ws) as websocket:
        await websocket.send("x" * 16 * 256)
        assert len(await websocket.recv()) == 16 * 256


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param(b"\x81\x82\x00\x00\x00\x00\xff\xfe", 1007, id="not UTF-8"),
        pytest.param(b"\x81\x83\x00\x00\x00\x00\xed\xa0\x80", 1007, id="a surrogate"),
        pytest.param(b"\x81\x02ab", 1002, id="not masked"),
        pytest.param(b"\xf1\x82\x00\x00\x00\x00ab", 1002, id="reserved bits"),
        pytest.param(b"\x83\x80\x00\x00\x00\x00", 1002, id="unknown opcode"),
        pytest.param(b"\x80\x82\x00\x00\x00\x00ab", 1002, id="a continuation of nothing"),
        pytest.param(b"\x88\x82\x00\x00\x00\x00\x00\x01", 1002, id="close with a bad code"),
    ],
)
async def test_broken_frame_is_closed_with_its_code_and_name(
    served: Running, app: Recorder, caplog: pytest.LogCaptureFixture, frame: bytes, code: int
) -> None:
    reader, writer = await served.upgrade()
    writer.write(frame)
    name = {1002: b"protocol_error", 1007: b"not_utf8"}[code]
    assert await reader.readexactly(4 + len(name)) == bytes([0x88, 2 + len(name)]) + code.to_bytes(2, "big") + name
    assert await last_heard(app) == code
    assert not [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]
    writer.close()


async def test_abort_ends_a_connection_whose_client_does_not_read(served: Running, app: Recorder) -> None:
    _, writer = await served.upgrade()
    writer.write(b"\x81\x82\x00\x00\x00\x00hi")
    await app.heard.get()
    app.scopes[0]["extensions"]["relay.wire"].abort()
    assert await last_heard(app) == 1006
    writer.close()


async def test_extensions_offer_no_compression(served: Running) -> None:
    async with connect(served.ws) as websocket:
        assert websocket.response is not None
        assert "Sec-WebSocket-Extensions" not in websocket.response.headers
        assert "server" not in websocket.response.headers
