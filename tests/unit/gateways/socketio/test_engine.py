"""Engine.IO sessions: their transports, their heartbeat, their end, and that nothing is left of them then."""

import asyncio
import gc
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2 as httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from relay.app import create_app
from relay.config import Settings
from relay.gateways.base.http import HttpBody
from relay.gateways.base.polling import PollingConnection
from relay.gateways.base.session import Session
from relay.gateways.socketio.client import SocketIOClient
from relay.gateways.socketio.engine import EngineSession
from relay.gateways.socketio.namespaces import Namespaces
from relay.gateways.socketio.packets import BadPacket, attachment
from relay.gateways.socketio.v09.client import V09Client
from relay.gateways.socketio.v09.packets import V09Framing
from relay.model.codec import Batch, Frame
from relay.model.errors import BAD_PACKET, GOING_AWAY, NORMAL, PONG_TIMEOUT
from relay.wire.websocket import WebSocketProtocol
from tests.unit.gateways.socketio.clients import engine
from tests.unit.serving import Running, running

# Ends of sessions.


async def test_a_session_is_known_until_it_ends_and_counted_while_it_lasts() -> None:
    async with engine(connections_per_address=1) as one:
        _, session = one.socket()
        assert one.sessions.get(session.id) is session
        assert len(one.worker.clients) == 1
        assert len(one.worker.admissions) == 1
        session.disconnected(1006, None)
        assert one.sessions.get(session.id) is None
        assert len(one.worker.clients) == 0
        assert len(one.worker.admissions) == 0


@pytest.mark.parametrize(
    ("code", "relay_closed", "goodbye", "counted"),
    [
        (1000, None, True, "client"),
        (1001, None, True, "client"),
        (1005, None, False, "client"),
        (1006, None, False, "lost"),
        (1000, "protocol_error", False, "protocol_error"),
    ],
)
async def test_how_a_session_ends_decides_whether_its_client_comes_back(
    code: int, relay_closed: str | None, goodbye: bool, counted: str
) -> None:
    async with engine() as one:
        _, session = one.socket()
        for _ in range(2):  # only the first one counts
            session.disconnected(code, relay_closed)
        assert one.handlers[0].ended == [goodbye]
        closed = one.worker.metrics.closed
        assert closed.labels(counted)._value.get() == 1


async def test_a_client_does_not_leave_when_the_relay_closed_its_session() -> None:
    async with engine() as one:
        connection, session = one.socket()
        connection.close(GOING_AWAY)
        assert session.closing
        session.disconnected(1000, None)
        assert one.handlers[0].ended == [False]


async def test_an_ended_session_handles_nothing_more() -> None:
    async with engine() as one:
        connection, session = one.socket()
        session.disconnected(1006, None)
        session.received(Frame(b"4late"))
        session.received(Frame(b"nonsense"))
        session.close_gracefully(GOING_AWAY)
        await session.open()
        assert (one.handlers[0].messages, one.handlers[0].closed) == ([], [])
        assert (connection.reason, connection.written) == (None, [])


async def test_closing_gracefully_is_the_handlers_work() -> None:
    async with engine() as one:
        _, session = one.socket()
        session.close_gracefully(GOING_AWAY, now=True)
        assert one.handlers[0].closed == [(GOING_AWAY, True)]


# Packets.


async def test_packets_over_a_websocket() -> None:
    async with engine() as one:
        connection, session = one.socket(3)
        await session.open()
        session.received(Frame(b"4hello"))
        session.received(Frame(b"2probe"))
        session.received(Frame(b"6"))
        assert one.handlers[0].messages == [b"hello"]
        assert connection.written == [b"0{}", b"3probe"]
        session.received(Frame(b"1"))
        assert connection.reason is NORMAL


@pytest.mark.parametrize("data", [b"nonsense", b"4bad", b"2"])
async def test_a_bad_packet_closes_the_websocket_and_counts(data: bytes) -> None:
    async with engine() as one:
        connection, session = one.socket()
        session.received(Frame(data))
        assert connection.reason is BAD_PACKET
        assert one.worker.metrics.errors.labels("socketio", "bad_packet")._value.get() == 1


async def test_a_posted_payload_is_handled_up_to_its_first_bad_packet() -> None:
    async with engine() as one:
        session = one.polling()
        await session.read_payload(b"4one\x1e4two", binary=False)
        with pytest.raises(BadPacket):
            await session.read_payload(b"4three\x1e4bad\x1e4four", binary=False)
        assert one.handlers[0].messages == [b"one", b"two", b"three"]
        await session.read_payload(b"4late", binary=False)
        assert one.handlers[0].messages == [b"one", b"two", b"three"]


async def test_a_close_packet_ends_polling_at_once_and_answers_the_poll() -> None:
    async with engine() as one:
        session = one.polling()
        polling = session.polling
        assert polling is not None
        poll = polling.poll()
        await session.read_payload(b"1\x1e4late", binary=False)
        assert session.writer.answer(poll.result()) == HttpBody(b"6")
        assert one.sessions.get(session.id) is None
        assert one.handlers[0].messages == []


async def test_the_frame_that_closed_polling_waits_for_the_next_poll_once() -> None:
    async with engine() as one:
        session = one.polling()
        session.connection.write(Frame(b"4last"))
        session.connection.close(GOING_AWAY)
        assert one.sessions.get(session.id) is session
        await asyncio.sleep(0)
        assert one.sessions.get(session.id) is None
        assert one.sessions.take_last_answer(session.id) == HttpBody(b"4last\x1e1")
        assert one.sessions.take_last_answer(session.id) is None


async def test_a_session_whose_id_others_know_is_proven_by_the_address_as_well() -> None:
    async with engine() as one:
        session = one.polling()
        assert session.accepts("elsewhere")
        session.announced = True
        assert session.accepts("here")
        assert not session.accepts("elsewhere")
        # The end of the session could be taken by others, before the client polls again.
        session.connection.write(Frame(b"4last"))
        session.connection.close(GOING_AWAY)
        await asyncio.sleep(0)
        assert one.sessions.take_last_answer(session.id) is None


async def test_only_a_dropped_request_of_the_present_transport_ends_a_session() -> None:
    async with engine() as one:
        session = one.polling()
        polling = session.polling
        assert polling is not None
        connection, _ = one.socket()
        session.upgraded(connection)
        polling.request_dropped()
        assert one.sessions.get(session.id) is session
        other = one.polling()
        assert other.polling is not None
        other.polling.request_dropped()
        assert one.sessions.get(other.id) is None


async def test_a_client_without_binary_frames_gets_base64() -> None:
    async with engine() as one:
        connection, session = one.socket(text_only=True)
        session.connection.write(attachment(b"\1\2", 4))
        session.connection.write_batch(Batch([Frame(b"4a"), attachment(b"\3", 4)]))
        assert connection.written == [b"bAQI=", b"4a", b"bAw=="]
        assert all(connection.texts)
        session.connection.close(GOING_AWAY)
        assert connection.reason is session.connection.reason is GOING_AWAY


# Pausing.


async def test_reading_goes_on_when_every_caller_that_paused_it_has_resumed_it() -> None:
    async with engine() as one:
        connection, session = one.socket()
        for paused in (True, True, False, False):
            session.pause_reading(paused=paused)
        assert connection.paused == [True, True, True, False]


async def test_a_post_is_answered_when_reading_goes_on() -> None:
    async with engine() as one:
        session = one.polling()
        assert session.polling is not None
        await session.polling.posts.until_resumed()
        session.pause_reading(paused=True)
        waiting = asyncio.create_task(session.polling.posts.until_resumed())
        await asyncio.sleep(0)
        assert not waiting.done()
        session.pause_reading(paused=False)
        await waiting
        session.pause_reading(paused=True)
        waiting = asyncio.create_task(session.polling.posts.until_resumed())
        await asyncio.sleep(0)
        session.disconnected(1006, None)
        await waiting


async def test_an_upgrade_keeps_the_order_and_the_pause() -> None:
    async with engine() as one:
        session = one.polling()
        session.connection.write(Frame(b"4first"))
        session.pause_reading(paused=True)
        assert session.polling is not None
        waiting = asyncio.create_task(session.polling.posts.until_resumed())
        await asyncio.sleep(0)
        connection, _ = one.socket()
        session.upgraded(connection)
        session.connection.write(Frame(b"4second"))
        assert connection.written == [b"4first", b"4second"]
        assert connection.paused == [True]
        assert session.polling is None
        await waiting


# Heartbeat.

V09 = V09Framing()


@pytest.mark.parametrize(("framing", "ping", "pong"), [(None, b"2", b"3"), (V09, b"2::", b"2::")])
async def test_the_server_pings_and_a_client_that_answers_stays(framing: Any, ping: bytes, pong: bytes) -> None:
    async with engine(ping_interval=0.04, ping_timeout=0.04) as one:
        connection, session = one.socket(framing=framing)
        for count in range(1, 4):
            await connection.until(lambda count=count: connection.written.count(ping) == count)
            session.received(Frame(pong))
        assert connection.reason is None
        await connection.until(lambda: connection.reason)
        assert connection.reason is PONG_TIMEOUT
        assert one.handlers[0].ended == [False]
        assert one.sessions.get(session.id) is None


async def test_a_client_of_revision_3_must_ping_by_itself() -> None:
    async with engine(ping_interval=0.3, ping_timeout=0.2) as one:
        loop = asyncio.get_running_loop()
        connection, session = one.socket(3)
        for _ in range(4):
            await asyncio.sleep(0.25)
            session.received(Frame(b"2"))
        last_heard = loop.time()
        assert connection.reason is None
        await connection.until(lambda: connection.reason)
        assert connection.reason is PONG_TIMEOUT
        # In time: not earlier than promised, and no further interval later.
        assert 0.49 <= loop.time() - last_heard < 0.79
        assert connection.written == [b"3"] * 4


@pytest.mark.parametrize("version", [3, 4])
async def test_a_client_that_the_relay_does_not_read_is_not_blamed(version: int) -> None:
    async with engine(ping_interval=0.02, ping_timeout=0.02) as one:
        connection, session = one.socket(version)
        session.pause_reading(paused=True)
        await asyncio.sleep(0.15)
        assert connection.reason is None
        session.pause_reading(paused=False)
        await connection.until(lambda: connection.reason)


async def test_a_client_that_reads_a_large_answer_to_its_poll_has_the_time_of_rooms_that_are_not_watched() -> None:
    async with engine() as one:
        session = one.polling()
        one.handlers[0].watched = True
        assert session.watched
        assert session.polling is not None
        session.connection.write(Frame(b"4" + b"x" * 20_000))
        session.polling.poll()
        assert not session.watched
        session.polling.poll()
        assert session.watched


@pytest.mark.parametrize("version", [3, 4])
async def test_a_client_that_polls_and_sends_nothing_is_closed(version: int) -> None:
    async with engine(ping_interval=0.02, ping_timeout=0.05) as one:
        session = one.polling(version)
        polling = session.polling
        assert polling is not None
        async with asyncio.timeout(5):
            while (answer := await polling.poll()).closed is None:
                pass
        assert answer.closed is PONG_TIMEOUT
        await asyncio.sleep(0)
        assert one.handlers[0].ended == [False]


# Over real connections.


@pytest.fixture
async def served() -> AsyncIterator[Running]:
    settings = Settings(ping_interval=0.05, ping_timeout=5)
    app = create_app(settings)
    async with running(app, ping_interval=0.05, ping_timeout=5) as one:
        yield one


@pytest.fixture
async def quiet() -> AsyncIterator[Running]:
    async with running(create_app(Settings())) as one:
        yield one


class Watched(ClientConnection):
    """Counts WebSocket pings."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.pings = 0
        recv_frame = self.protocol.recv_frame

        def recv(frame: Any) -> None:
            self.pings += frame.opcode == 9
            recv_frame(frame)

        self.protocol.recv_frame = recv  # type: ignore[method-assign]


def http_client(served: Running) -> httpx.AsyncClient:
    # Without certificates to load, which takes longer than everything else here.
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}", verify=False)


async def polled(http: httpx.AsyncClient, query: str) -> str:
    answer = await http.get(f"/socket.io/?{query}&transport=polling&b64=1")
    return str(json.loads(answer.text[answer.text.index("{") : answer.text.index("}") + 1])["sid"])


async def open_socket(served: Running, query: str, *, upgrade: bool = False) -> Watched:
    """Open a client of Engine.IO, or of version 0.9 (`v09`)."""
    base = served.ws.rstrip("/")
    if query == "v09":
        async with http_client(served) as http:
            sid = (await http.get("/socket.io/1/")).text.partition(":")[0]
        url = f"{base}/socket.io/1/websocket/{sid}"
    elif upgrade:
        async with http_client(served) as http:
            sid = await polled(http, query)
        url = f"{base}/socket.io/?{query}&transport=websocket&sid={sid}"
    else:
        url = f"{base}/socket.io/?{query}&transport=websocket"
    socket = await connect(url, create_connection=Watched, ping_interval=None, proxy=None, compression=None)
    assert isinstance(socket, Watched)
    if upgrade:
        await socket.send("2probe")
        assert await socket.recv() == "3probe"
        await socket.send("5")
    if query == "EIO=4":
        await socket.send("40")
    async with asyncio.timeout(5):
        while not str(await socket.recv()).startswith(("40", "1::")):
            pass
    return socket


@pytest.mark.parametrize(
    ("query", "upgrade", "ping", "pong"),
    [
        ("EIO=4", False, "2", "3"),
        ("EIO=4", True, "2", "3"),
        ("EIO=3", False, None, "2"),
        ("EIO=3", True, None, "2"),
        ("v09", False, "2::", "2::"),
    ],
)
async def test_the_protocols_own_heartbeat_is_the_only_one(
    served: Running, query: str, upgrade: bool, ping: str | None, pong: str
) -> None:
    socket = await open_socket(served, query, upgrade=upgrade)
    for _ in range(5):
        if ping is None:
            await asyncio.sleep(0.05)  # as long as WebSocket pings would have to show themselves
            await socket.send(pong)
            assert await socket.recv() == "3"
        else:
            assert await socket.recv() == ping
            await socket.send(pong)
    assert socket.pings == 0
    await socket.close()


COUNTED = (EngineSession, SocketIOClient, V09Client, Namespaces, Session, PollingConnection, WebSocketProtocol)


def alive() -> Counter[str]:
    found: Counter[str] = Counter()
    for one in gc.get_objects():
        if type(one) in COUNTED:
            found[type(one).__name__] += 1
    return found


@pytest.fixture
def before() -> Iterator[Counter[str]]:
    """The objects that other tests have left; the collector is off until the end of the test."""
    gc.collect()
    gc.disable()
    yield alive()
    gc.enable()
    gc.collect()


async def freed(before: Counter[str]) -> None:
    """Wait until nothing of any session of this test is left."""
    try:
        async with asyncio.timeout(3):
            while alive() - before:
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not freed without the collector: {dict(alive() - before)}") from None


@pytest.mark.parametrize("end", ["goodbye", "loss", "relay"])
@pytest.mark.parametrize(
    ("query", "upgrade"), [("EIO=4", False), ("EIO=4", True), ("EIO=3", False), ("EIO=3", True), ("v09", False)]
)
async def test_a_session_over_a_websocket_is_freed_by_reference_counting(
    quiet: Running, before: Counter[str], query: str, upgrade: bool, end: str
) -> None:
    for _ in range(3):
        socket = await open_socket(quiet, query, upgrade=upgrade)
        assert (alive() - before)["EngineSession"]
        if end == "goodbye":
            await socket.close()
        elif end == "loss":
            socket.transport.abort()
        else:
            await socket.send("9nonsense")
        await socket.wait_closed()
    await freed(before)


@pytest.mark.parametrize("end", ["goodbye", "loss", "relay"])
@pytest.mark.parametrize("query", ["EIO=4", "EIO=3", "v09"])
async def test_a_session_that_polls_is_freed_by_reference_counting(
    quiet: Running, before: Counter[str], query: str, end: str
) -> None:
    for _ in range(3):
        async with http_client(quiet) as http:
            if query == "v09":
                url = f"/socket.io/1/xhr-polling/{(await http.get('/socket.io/1/')).text.partition(':')[0]}"
                assert (await http.get(url)).text == "1::"
            else:
                sid = await polled(http, query)
                url = f"/socket.io/?{query}&transport=polling&b64=1&sid={sid}"
                if query == "EIO=4":
                    await http.post(url, content="40")
                assert "40" in (await http.get(url)).text
            assert (alive() - before)["EngineSession"]
            if end == "goodbye":
                if query == "v09":
                    await http.get(url.replace("xhr-polling", "") + "?disconnect=1")
                else:
                    await http.post(url, content={"EIO=4": "1", "EIO=3": "1:1"}[query])
            elif end == "loss":
                poll = asyncio.create_task(http.get(url))
                await asyncio.sleep(0.05)
                poll.cancel()
                await asyncio.wait([poll])
            else:
                await http.post(url, content="nonsense")
    await freed(before)


# The first poll, and clients that stay away.


async def test_packets_that_a_client_posts_before_its_first_poll_wait_for_it() -> None:
    async with engine() as one:
        session, called = one.polling(polled=False), []
        session.when_polled(lambda: called.append(len(one.handlers[0].messages)))
        await session.read_payload(b"4one\x1e4two", binary=False)
        assert (one.handlers[0].messages, called) == ([], [])
        session.polled()
        session.polled()
        assert (one.handlers[0].messages, called) == ([b"one", b"two"], [0])
        session.when_polled(lambda: called.append(9))
        assert called == [0, 9]


@pytest.mark.parametrize("body", [b"\x1e".join([b"4x"] * 65), b"4" + b"x" * 2000])
async def test_a_client_that_posts_too_much_before_its_first_poll_is_closed(body: bytes) -> None:
    async with engine(max_message=256, send_buffer=4096) as one:
        one.sessions.max_payload = 1000
        session = one.polling(polled=False)
        with pytest.raises(BadPacket):
            await session.read_payload(body, binary=False)
        assert session.connection.reason is BAD_PACKET


async def test_a_bad_packet_before_the_first_poll_ends_the_session_with_it() -> None:
    async with engine() as one:
        session = one.polling(polled=False)
        await session.read_payload(b"4one\x1e4bad", binary=False)
        session.polled()
        assert session.connection.reason is BAD_PACKET


async def test_a_session_without_a_first_poll_is_lost_within_the_handshake_timeout() -> None:
    async with engine(handshake_timeout=0.05) as one:
        session, other = one.polling(polled=False), one.polling()
        async with asyncio.timeout(5):
            while one.sessions.get(session.id) is not None:
                await asyncio.sleep(0.01)
        assert one.handlers[0].ended == [False]
        assert one.sessions.get(other.id) is other


async def test_a_session_without_a_poll_for_the_time_of_a_pong_is_lost() -> None:
    async with engine(ping_timeout=0.05) as one:
        session, other = one.polling(), one.polling()
        assert other.polling is not None
        other.polling.poll()
        async with asyncio.timeout(5):
            while one.sessions.get(session.id) is not None:
                await asyncio.sleep(0.01)
        assert one.sessions.get(other.id) is other


# Packets that are no requests.


@pytest.mark.parametrize(("version", "data"), [(4, b"3"), (4, b"6"), (3, b"2"), (3, b"2" + b"x" * 100)])
async def test_control_packets_above_the_rate_stop_reading_and_are_not_refused(version: Any, data: bytes) -> None:
    async with engine(message_rate=100) as one:
        connection, session = one.socket(version)
        for _ in range(100):
            session.received(Frame(data))
        assert connection.paused == []
        for _ in range(150):
            session.received(Frame(data))
        assert connection.paused == [True]
        async with asyncio.timeout(5):
            while connection.paused != [True, False]:
                await asyncio.sleep(0.01)
        assert connection.reason is None


async def test_packets_behind_the_rate_wait_in_a_payload_and_nothing_of_it_is_lost() -> None:
    async with engine(message_rate=100) as one:
        session = one.polling(3)
        body = b"".join([b"1:3"] * 230 + [b"6:4hello"])
        reading = asyncio.create_task(session.read_payload(body, binary=False))
        async with asyncio.timeout(5):
            while not session._paused:
                await asyncio.sleep(0)
            assert one.handlers[0].messages == []
            await reading
        assert one.handlers[0].messages == [b"hello"]


async def test_a_long_payload_leaves_others_their_turn() -> None:
    async with engine() as one:
        session, turns = one.polling(), []
        reading = asyncio.create_task(session.read_payload(b"\x1e".join([b"4x"] * 1000), binary=False))
        while not reading.done():
            turns.append(len(one.handlers[0].messages))
            await asyncio.sleep(0)
        assert max(later - earlier for earlier, later in itertools.pairwise(turns)) <= 64
        assert len(one.handlers[0].messages) == 1000


async def test_a_brake_ends_with_its_session() -> None:
    async with engine(message_rate=1) as one:
        connection, session = one.socket()
        for _ in range(20):
            session.received(Frame(b"6"))
        assert connection.paused == [True]
        brake = session._brake
        assert brake is not None
        session.disconnected(1006, None)
        session.count_packet(1)
        assert (brake._timer, session._brake) == (None, None)


# Echoes: pings of which the pong is awaited.


async def test_a_callback_that_waits_for_a_pong_is_called_once_however_often_it_asks() -> None:
    async with engine() as one:
        _, session = one.socket()
        calls: list[str] = []

        class Caller:
            def read(self) -> None:
                calls.append("read")

        caller = Caller()
        assert all(session.echo(caller.read) for _ in range(3))
        session.received(Frame(b"3"))
        session.received(Frame(b"3"))
        assert calls == ["read"]


async def test_a_client_that_answers_no_ping_is_asked_for_a_bounded_number_of_pongs() -> None:
    async with engine() as one:
        _, session = one.socket()
        calls: list[int] = []
        pings = [session.echo(lambda number=number: calls.append(number)) for number in range(1000)]
        assert pings[64:] == [None] * 936
        session.received(Frame(b"3"))
        assert calls == list(range(64))


async def test_a_session_that_has_ended_keeps_no_callback() -> None:
    async with engine() as one:
        _, session = one.socket()
        session.disconnected(1006, None)
        assert session.echo(list) is None
        assert session._echoes is None


async def test_a_pong_that_the_relay_has_asked_for_costs_no_packet() -> None:
    async with engine(message_rate=1) as one:
        connection, session = one.socket()
        for _ in range(100):
            session.echo(list)
            session.received(Frame(b"3"))
        assert connection.paused == []
        for _ in range(20):
            session.received(Frame(b"3"))
        assert connection.paused == [True]
