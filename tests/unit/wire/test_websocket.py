"""Frames, pings, the closing handshake, and clients that are slow, lost or break the protocol."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator

import pytest
import trustme
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from relay.rooms.connection import Transfer
from relay.rooms.keepalive import Keepalive, KeepaliveTiming
from relay.rooms.throttle import Throttle
from relay.wire.limits import WireLimits
from relay.wire.unfinished import UnfinishedMessages
from relay.wire.websocket import WebSocketProtocol
from tests.unit.serving import UPGRADE, Recorder, Running, running
from tests.unit.wire.fakes import FailingReceiver, FakeReceiver, FakeTransport, masked, protocol_of


@pytest.fixture
def app() -> Recorder:
    return Recorder()


@pytest.fixture
async def served(app: Recorder) -> AsyncIterator[Running]:
    async with running(app, max_message=256) as one:
        yield one


def large_frame(size: int) -> bytes:
    """A masked text frame of more than 64 KB."""
    return b"\x81\xff" + size.to_bytes(8, "big") + bytes(4) + b"x" * size


async def test_connections_are_held_back_while_a_worker_is_short_of_room_for_messages() -> None:
    unfinished, throttle = UnfinishedMessages(limit=150_000, patience=60), Throttle()
    limits = WireLimits(200_000, 1000, Keepalive(KeepaliveTiming(25, 20, 25)), throttle, set(), unfinished=unfinished)
    transports, receivers = [FakeTransport(), FakeTransport()], [FakeReceiver(), FakeReceiver()]
    first, second = (WebSocketProtocol(transports[i], limits, receivers[i]) for i in range(2))
    frame = large_frame(100_000)
    first.data_received(frame[:90_000])
    assert unfinished.total == 90_000 - 14  # the head of the frame is read
    second.data_received(frame[:90_000])
    assert [transport.reading for transport in transports] == [True, False]
    second.pause_reading(paused=True)
    second.pause_reading(paused=False)
    assert not transports[1].reading
    first.data_received(frame[90_000:])
    assert receivers[0].texts == [b"x" * 100_000]
    assert transports[1].reading
    second.data_received(frame[90_000:] + masked(0x81, b"more"))
    assert receivers[1].texts == [b"x" * 100_000, b"more"]
    assert unfinished.total == 0


async def test_the_bytes_of_a_lost_connection_and_of_one_that_is_given_up_are_free_again() -> None:
    transport, receiver = FakeTransport(), FakeReceiver()
    protocol = protocol_of(transport, receiver)
    unfinished = protocol._limits.unfinished
    protocol.data_received(masked(0x81, b"x" * 100)[:50])
    assert unfinished.total == 50 - 6  # without the head of the frame
    protocol.connection_lost(None)
    assert unfinished.total == 0
    protocol = protocol_of(transport, receiver)
    protocol.data_received(masked(0x01, b"x" * 100))
    protocol.give_up()
    assert protocol._limits.unfinished.total == 0
    assert receiver.ended == [1006, 4006]
    assert transport.written.endswith(b"unfinished")
    protocol.data_received(b"x" * 1000)
    assert protocol._limits.unfinished.total == 0
    protocol.connection_lost(None)


async def test_a_burst_over_tls_is_read_to_its_end_after_the_client_has_left(app: Recorder) -> None:
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


async def test_a_subprotocol_that_is_no_token_is_ignored(served: Running, app: Recorder) -> None:
    offered = "Sec-WebSocket-Protocol: a b, é, good\r\n".encode("latin-1")
    reader, writer = await served.connect()
    writer.write(UPGRADE % (b"/", offered))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    assert app.scopes[0]["subprotocols"] == ["good"]
    writer.close()


# How a WebSocket ends.


async def last_heard(app: Recorder) -> int:
    async with asyncio.timeout(5):
        while (message := await app.heard.get())["type"] != "websocket.disconnect":
            pass
    code: int = message["code"]
    return code


@pytest.mark.parametrize("first", [0x81, 0x89])
async def test_no_connection_is_read_for_longer_than_one_turn_and_all_is_read_in_order(first: int) -> None:
    transport, receiver = FakeTransport(), FakeReceiver()
    protocol = protocol_of(transport, receiver)
    sent = [b"%d" % number for number in range(3000)]
    protocol.data_received(b"".join(masked(first, data) for data in sent))

    def received() -> list[bytes]:
        pongs = [one[1:] for one in transport.written.split(b"\x8a") if one]
        return receiver.texts if first == 0x81 else pongs

    turns = 1
    while not transport.reading:
        assert len(received()) < 500 * turns
        await asyncio.sleep(0)
        turns += 1
    assert turns > 5
    assert received() == sent


async def test_a_connection_paused_in_the_middle_of_a_turn_is_read_on_later() -> None:
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


async def test_a_client_that_does_not_read_gets_one_late_pong() -> None:
    transport = FakeTransport()
    protocol = protocol_of(transport, FakeReceiver())
    protocol.pause_writing()
    protocol.data_received(masked(0x89, b"one") * 20)
    protocol.data_received(masked(0x89, b"two"))
    assert transport.written == b""
    protocol.resume_writing()
    assert transport.written == b"\x8a\x03two"  # the latest stands for all


async def test_frames_before_the_end_are_read_before_the_end_is_reported() -> None:
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


async def test_a_connection_that_the_relay_closed_is_not_read_to_the_end() -> None:
    transport, receiver = FakeTransport(), FakeReceiver()
    protocol = protocol_of(transport, receiver)
    protocol.data_received(masked(0x81, b"x") * 300)
    protocol.close(4000, "slow")
    protocol.connection_lost(None)
    assert receiver.ended == [1006]
    assert len(receiver.texts) < 100


async def test_bytes_delivered_after_a_pause_do_not_stop_the_reading() -> None:
    transport, receiver = FakeTransport(), FakeReceiver()
    protocol = protocol_of(transport, receiver)
    protocol.data_received(masked(0x81, b"x") * 70)
    protocol.data_received(masked(0x81, b"x"))
    await asyncio.sleep(0)
    assert (len(receiver.texts), transport.reading) == (71, True)


@pytest.mark.parametrize("frame", [masked(0x81, b"x"), masked(0x82, b"x")])
async def test_a_session_that_fails_is_closed_with_1011(frame: bytes, caplog: pytest.LogCaptureFixture) -> None:
    transport = FakeTransport()
    protocol = protocol_of(transport, FailingReceiver())
    protocol.data_received(frame * 3)
    assert transport.written == b"\x88\x0a\x03\xf3internal"
    protocol.connection_lost(None)
    messages = [record.getMessage() for record in caplog.records]
    assert ["failed on a message" in message for message in messages] == [True, False]
    assert "failed while it ended" in messages[1]


async def test_a_message_after_the_close_frame_of_the_relay_is_ignored_and_the_answer_read() -> None:
    transport, receiver = FakeTransport(), FakeReceiver()
    protocol = protocol_of(transport, receiver)
    protocol.close(4000, "slow")
    protocol.data_received(masked(0x81, b"x") + masked(0x88, b"\x0f\xa0"))
    assert (receiver.texts, receiver.ended, transport.closing) == ([], [4000], True)


async def test_a_fragmented_message_may_be_interrupted_by_a_ping() -> None:
    transport, receiver = FakeTransport(), FakeReceiver()
    protocol = protocol_of(transport, receiver)
    protocol.data_received(masked(0x01, b"a") + masked(0x89, b"?") + masked(0x00, b"") + masked(0x80, b"b"))
    assert (receiver.texts, transport.written) == ([b"ab"], b"\x8a\x01?")


async def test_writing_reports_the_buffered_bytes_above_the_high_water_mark_alone() -> None:
    transport = FakeTransport()
    protocol = protocol_of(transport, FakeReceiver())
    assert protocol.write(b"12345") == 0
    protocol.pause_writing()
    assert protocol.write(b"678") == 8


async def test_draining_ends_when_the_client_has_caught_up_or_left() -> None:
    for end in (WebSocketProtocol.resume_writing, lambda protocol: protocol.connection_lost(None)):
        protocol = protocol_of(FakeTransport(), FakeReceiver())
        await protocol.drain()
        protocol.pause_writing()
        draining = asyncio.create_task(protocol.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        end(protocol)
        await draining


async def test_shutdown_aborts() -> None:
    transport = FakeTransport()
    protocol_of(transport, FakeReceiver()).shutdown()
    assert transport.aborted


async def test_frames_after_a_violation_are_not_read() -> None:
    transport, receiver = FakeTransport(), FakeReceiver()
    protocol = protocol_of(transport, receiver)
    protocol.data_received(b"\x81\x01a" + masked(0x81, b"x") * 3)
    protocol.data_received(masked(0x81, b"x"))
    assert (receiver.texts, receiver.ended) == ([], [1002])


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
    throttle = Throttle()
    limits = WireLimits(2000, 1000, Keepalive(KeepaliveTiming(0.02, 5, 0.02)), throttle, set())
    pinged, quiet = FakeTransport(), FakeTransport()
    for transport, keepalive in ((pinged, True), (quiet, False)):
        protocol = WebSocketProtocol(transport, limits, FakeReceiver())
        protocol.opened("")
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
        await asyncio.sleep(0.2)  # four times the time that it has for its pong
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


async def test_a_connection_that_ends_without_a_close_frame_is_lost() -> None:
    transport = FakeTransport()
    protocol = protocol_of(transport, FakeReceiver())
    assert not protocol.lost
    transport.closing = True
    protocol.connection_lost(None)
    assert protocol.lost


async def test_arrivals_are_known_while_the_close_frame_of_a_client_is_reported() -> None:
    found = list[Transfer | None]()

    class Asking(FakeReceiver):
        def disconnected(self, code: int, relay_closed: str | None) -> None:
            found.append(protocol.transfer())

    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as connected:
        transport = FakeTransport()
        transport._extra["socket"] = connected  # type: ignore[attr-defined]
        protocol = protocol_of(transport, Asking())
        protocol.data_received(b"\x88\x80\x00\x00\x00\x00")
        assert [one and one.written - one.received for one in found] == [0]
        assert protocol.transfer() is None


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"", 1005), (b"\x03\xe8", 1000), (b"\x03\xe9", 1001), (b"\x0f\xa0", 4000), (b"\x03\xe8bye", 1000)],
)
@pytest.mark.parametrize("pieces", [False, True])
async def test_a_close_frame_is_answered_alike_whether_the_library_reads_it_or_not(
    payload: bytes, code: int, pieces: bool
) -> None:
    transport, receiver = FakeTransport(), FakeReceiver()
    protocol = protocol_of(transport, receiver)
    sent = masked(0x81, b"text") + masked(0x88, payload) + masked(0x81, b"late")
    for piece in [sent[at : at + 1] for at in range(len(sent))] if pieces else [sent]:
        protocol.data_received(piece)
    assert (receiver.texts, receiver.ended) == ([b"text"], [code])
    assert transport.written == bytes([0x88, len(payload)]) + payload
    usual = payload in {b"", b"\x03\xe8", b"\x03\xe9"}
    assert (protocol._parser is None) is (usual and not pieces)
    protocol.connection_lost(None)
    assert receiver.ended == [code]


async def test_a_close_frame_with_a_bad_code_is_a_violation() -> None:
    for payload in (b"\x03", b"\x03\xed"):
        transport, receiver = FakeTransport(), FakeReceiver()
        protocol_of(transport, receiver).data_received(masked(0x88, payload))
        assert receiver.ended == [1002]
        assert transport.written[2:4] == b"\x03\xea"


async def test_the_answer_to_a_handshake_leaves_together_with_the_first_frame() -> None:
    transport = FakeTransport()
    protocol = protocol_of(transport, FakeReceiver())
    protocol.opened("", b"101", greets=True)
    assert transport.written == b""
    protocol.write(b"-first")
    protocol.write(b"-second")
    assert transport.written == b"101-first-second"


async def test_the_answer_to_a_handshake_waits_a_moment_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.wire.limits.GREETING_TIME", 0.01)
    transport = FakeTransport()
    protocol = protocol_of(transport, FakeReceiver())
    protocol.opened("", b"101", greets=True)
    async with asyncio.timeout(5):
        await transport.wrote.wait()
    protocol.write(b"-first")
    assert transport.written == b"101-first"


async def test_the_answer_to_a_handshake_is_ahead_of_a_pong_and_of_a_close_frame() -> None:
    for close in (False, True):
        transport = FakeTransport()
        protocol = protocol_of(transport, FakeReceiver())
        protocol.opened("", b"101", greets=True)
        if close:
            protocol.close(4000, "slow")
        else:
            protocol.data_received(masked(0x89, b""))
        assert transport.written == b"101" + (b"\x88\x06\x0f\xa0slow" if close else b"\x8a\x00")


async def test_nothing_is_written_to_a_client_that_leaves_before_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.wire.limits.GREETING_TIME", 0.01)
    transport = FakeTransport()
    protocol = protocol_of(transport, FakeReceiver())
    protocol.opened("", b"101", greets=True)
    transport.closing = True
    protocol.connection_lost(None)
    ended = asyncio.Event()
    protocol._limits.greetings.add(ended.set)
    await ended.wait()
    assert transport.written == b""
