"""A room over a relay that says what it is told to."""

import asyncio
import http
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import Request, Response, ServerConnection, serve

from relay.client import Closed, Interrupted, Lost, NotAcknowledged, Options, QueueFull, Rejected, Resumed, join
from relay.model.errors import GOING_AWAY
from tests.fleet import eventually

QUICK = Options(connect_timeout=5, close_timeout=0.2)


class Script:
    """Serves one connection after the other, each by the next part; keeps what each asked for."""

    def __init__(self) -> None:
        self.parts: list[Callable[[ServerConnection], Awaitable[None]]] = []
        self.requests: list[Request] = []
        self.refusals: list[tuple[int, dict[str, str], bytes]] = []
        self.url = ""

    async def serve(self, socket: ServerConnection) -> None:
        await self.parts.pop(0)(socket)

    def check(self, _: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        if not self.refusals:
            return None
        status, headers, body = self.refusals.pop(0)
        response = Response(status, http.HTTPStatus(status).phrase, request.headers.__class__(headers), body)
        response.headers["Content-Length"] = str(len(body))
        return response

    @property
    def asked(self) -> list[str]:
        return [request.path for request in self.requests]

    @property
    def keys(self) -> list[str]:
        return [request.headers["Sec-WebSocket-Protocol"].split("resume.")[1] for request in self.requests]


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    script = Script()
    async with serve(
        script.serve, "127.0.0.1", 0, process_request=script.check, subprotocols=["relay.v1"], ping_interval=None
    ) as server:
        script.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield script


async def tell(socket: ServerConnection, **frame: Any) -> None:
    await socket.send(json.dumps(frame))


async def welcome(socket: ServerConnection, ident: str = "1-1", **more: Any) -> None:
    await tell(socket, type="welcome", peer="me", room="r", id=ident, resume=f"key-{ident}", **more)


async def wait_for_the_end(socket: ServerConnection) -> None:
    await socket.wait_closed()


@asynccontextmanager
async def room_of(script: Script, **options: Any) -> AsyncIterator[Any]:
    async with join(script.url, "r", **{"options": QUICK} | options) as room:
        yield room


async def test_it_comes_back_with_its_place_and_key_and_tells(script: Script) -> None:
    async def first(socket: ServerConnection) -> None:
        await welcome(socket)
        await tell(socket, x=1, **{"from": "a", "id": "1-7"})
        await socket.recv()
        socket.transport.abort()

    async def second(socket: ServerConnection) -> None:
        await welcome(socket, "1-7", recovered=True)
        await tell(socket, x=2, **{"from": "a", "id": "1-8"})
        await tell(socket, type="recovered", id="1-9", replayed=1)
        frame = json.loads(await socket.recv())
        await tell(socket, type="ack", key=frame["key"], id="1-10")
        await socket.wait_closed()

    script.parts = [first, second]
    async with room_of(script, presence=True, channels=["a b"]) as room:
        sent = room.post({"y": 1})
        events = [await anext(room) for _ in range(4)]
        assert [type(event).__name__ for event in events] == ["Envelope", "Interrupted", "Envelope", "Resumed"]
        assert events[3] == Resumed(1)
        assert str(await sent) == "1-10"
        assert (room.peer, str(room.id), room.reconnects, room.resent) == ("me", "1-10", 1, 1)
    assert script.asked == ["/rooms/r?channel=a+b&presence=1", "/rooms/r?channel=a+b&peer=me&presence=1&since=1-7"]
    assert script.keys[1] == "key-1-1"
    assert len(script.keys[0]) > 20


async def test_a_first_welcome_that_got_lost_is_asked_for_with_the_same_key(script: Script) -> None:
    async def first(socket: ServerConnection) -> None:
        socket.transport.abort()

    async def second(socket: ServerConnection) -> None:
        await welcome(socket, resumed=True)
        await socket.wait_closed()

    script.parts = [first, second]
    async with room_of(script) as room:
        assert room.connected
    assert script.keys[0] == script.keys[1]


async def test_a_busy_relay_is_asked_again_and_a_refusal_is_final(script: Script) -> None:
    script.refusals = [(503, {"Retry-After": "0"}, b"{}"), (429, {}, b"")]
    script.parts = [lambda socket: welcome(socket)]
    async with room_of(script):
        assert len(script.requests) == 3
    body = b'{"error":{"code":"bad_origin","text":"pages of this origin may not connect"}}'
    script.refusals = [(403, {}, body)]
    with pytest.raises(Closed, match="bad_origin"):
        async with room_of(script):
            pass


@pytest.mark.parametrize(("code", "name"), [(4500, "replaced"), (4502, "bad_request"), (1009, "too_large")])
async def test_a_close_that_says_so_is_the_end_of_everything(script: Script, code: int, name: str) -> None:
    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        await socket.recv()
        await socket.close(code)

    script.parts = [only]
    async with room_of(script) as room:
        with pytest.raises(Closed) as sending:
            await room.send({})
        with pytest.raises(Closed) as hearing:
            await anext(room)
        assert sending.value.code == hearing.value.code == name
        with pytest.raises(Closed):
            room.post({})


async def test_a_refused_join_says_why(script: Script) -> None:
    async def only(socket: ServerConnection) -> None:
        await tell(socket, type="error", about="join", code="peer_taken", text="bob is in use in r")
        await socket.close(4501)

    script.parts = [only]
    with pytest.raises(Closed, match="peer_taken: bob is in use in r"):
        async with room_of(script, peer="bob"):
            pass


async def test_nobody_there_is_told_after_a_while() -> None:
    options = Options(connect_timeout=0.2)
    with pytest.raises(Closed, match="unreachable"):
        async with join("ws://127.0.0.1:1", "r", options=options):
            pass


async def test_a_server_of_another_kind_is_told_apart(script: Script) -> None:
    script.parts = [lambda socket: socket.send("hello")]
    with pytest.raises(Closed, match="protocol"):
        async with room_of(script):
            pass


async def test_a_connection_on_which_nothing_is_heard_is_made_anew(script: Script) -> None:
    async def mute(socket: ServerConnection) -> None:
        await welcome(socket)
        assert json.loads(await socket.recv()) == {"type": "ping"}
        await socket.wait_closed()

    async def loud(socket: ServerConnection) -> None:
        await welcome(socket, "1-1", recovered=True)
        for _ in range(3):
            assert json.loads(await socket.recv()) == {"type": "ping"}
            await tell(socket, type="pong", id="1-1")
        await tell(socket, x=1, **{"from": "a", "id": "1-2"})
        await socket.wait_closed()

    script.parts = [mute, loud]
    async with room_of(script, options=Options(ping_interval=0.05, ping_timeout=0.2, close_timeout=0.2)) as room:
        assert isinstance(await anext(room), Interrupted)
        assert (await anext(room)).data["x"] == 1
        assert room.reconnects == 1


async def test_errors_of_the_moment_are_tried_again_and_others_are_told(script: Script) -> None:
    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        keys = [json.loads(await socket.recv())["key"] for _ in range(2)]
        await tell(socket, type="error", about="envelope", key=keys[0], code="unavailable", text="")
        await tell(socket, type="error", about="envelope", key=keys[1], code="out_of_order", text="")
        again = [json.loads(await socket.recv()) for _ in range(2)]
        assert [frame["key"] for frame in again] == keys
        assert again[1]["after"] == keys[0]
        await tell(socket, type="ack", key=keys[0], id="1-2")
        await tell(socket, type="error", about="envelope", key=keys[1], code="no_such_peer", text="nobody")
        await socket.wait_closed()

    script.parts = [only]
    async with room_of(script) as room:
        first, second = room.post({"n": 1}), room.post({"n": 2}, to="x")
        assert str(await first) == "1-2"
        with pytest.raises(Rejected, match="nobody"):
            await second


async def test_sending_without_an_answer_ends_in_time(script: Script) -> None:
    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        await socket.wait_closed()

    script.parts = [only]
    async with room_of(script) as room:
        with pytest.raises(NotAcknowledged) as late:
            await room.send({}, timeout=0.1)
        assert late.value.possibly_sent


async def test_a_user_who_does_not_listen_holds_the_relay_back_and_loses_nothing(script: Script) -> None:
    total, told = 400, asyncio.Event()

    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        for n in range(total):
            await tell(socket, n=n, **{"from": "a", "id": f"1-{n + 2}"})
        told.set()
        await socket.wait_closed()

    script.parts = [only]
    async with room_of(script, options=Options(incoming=10, close_timeout=0.2)) as room:
        await told.wait()
        assert [(await anext(room)).data["n"] for _ in range(total)] == list(range(total))


async def test_leaving_says_goodbye_and_ends_the_events(script: Script) -> None:
    codes = []

    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        await tell(socket, type="error", code="messages_lost", reason="trimmed", id="1-5")
        await socket.wait_closed()
        codes.append(socket.close_code)

    script.parts = [only]
    async with room_of(script) as room:
        assert await anext(room) == Lost("trimmed")
        await room.leave()
        assert [event async for event in room] == []
    assert codes == [1000]


async def test_giving_one_up_makes_way_for_the_next(script: Script) -> None:
    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        await socket.recv()
        frame = json.loads(await socket.recv())
        await tell(socket, type="ack", key=frame["key"], id="1-2")
        await socket.wait_closed()

    script.parts = [only]
    async with room_of(script, options=Options(window=1, close_timeout=0.2)) as room:
        late = asyncio.create_task(room.send({"n": 1}, timeout=0.1))
        await asyncio.sleep(0)
        assert str(await room.send({"n": 2}, timeout=5)) == "1-2"
        with pytest.raises(NotAcknowledged):
            await late


async def test_who_waits_for_space_may_wait_in_vain(script: Script) -> None:
    script.parts = [silent, silent]
    for patient, error in ((True, NotAcknowledged), (False, QueueFull)):
        options = Options(outgoing=1, wait_for_space=patient, close_timeout=0.1)
        async with room_of(script, options=options) as room:
            room.post({"n": 1})
            with pytest.raises(error) as late:
                await room.send({"n": 2}, timeout=0.05)
            assert not getattr(late.value, "possibly_sent", False)


async def silent(socket: ServerConnection) -> None:
    await welcome(socket)
    await socket.wait_closed()


async def test_a_cancelled_sender_leaves_nothing_behind(script: Script) -> None:
    script.parts = [silent]
    async with room_of(script) as room:
        sending = asyncio.create_task(room.send({}))
        await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert not len(room._outbox)


async def test_a_user_who_does_not_listen_is_no_silent_relay(script: Script) -> None:
    asked = []

    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        for n in range(3):
            await tell(socket, n=n, **{"from": "a", "id": f"1-{n + 2}"})
        asked.extend([frame async for frame in socket])

    script.parts = [only]
    options = Options(incoming=1, ping_interval=0.02, ping_timeout=0.02, close_timeout=0.2)
    async with room_of(script, options=options) as room:
        await asyncio.sleep(0.2)
        assert room.connected
        assert [(await anext(room)).data["n"] for _ in range(3)] == [0, 1, 2]
        assert not asked


async def test_leaving_waits_for_what_is_on_its_way_though_nobody_listens(script: Script) -> None:
    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        frame = json.loads(await socket.recv())
        for n in range(100):
            await tell(socket, n=n, **{"from": "a", "id": f"1-{n + 2}"})
        await tell(socket, type="ack", key=frame["key"], id="1-102")
        await socket.wait_closed()

    script.parts = [only]
    async with room_of(script, options=Options(incoming=5)) as room:
        sent = room.post({})
        while not room._incoming.full():
            await asyncio.sleep(0)
    assert str(await sent) == "1-102"


async def test_a_late_attempt_of_its_own_is_no_end(script: Script) -> None:
    async def lost(socket: ServerConnection) -> None:
        await welcome(socket)
        socket.transport.abort()

    async def unanswered(socket: ServerConnection) -> None:
        socket.transport.abort()

    async def replaced(socket: ServerConnection) -> None:
        await welcome(socket, "1-2", recovered=True)
        await socket.close(4500)

    async def back(socket: ServerConnection) -> None:
        await welcome(socket, "1-3", recovered=True)
        await socket.close(4500)

    script.parts = [lost, unanswered, replaced, back]
    async with room_of(script) as room:
        with pytest.raises(Closed, match="replaced"):
            [event async for event in room]
    assert script.keys[1:] == ["key-1-1", "key-1-1", "key-1-1"]


async def test_who_is_sent_elsewhere_tries_the_next_address(script: Script) -> None:
    async def leaving(socket: ServerConnection) -> None:
        await welcome(socket)
        await socket.close(1001)

    async def elsewhere(socket: ServerConnection) -> None:
        await welcome(socket, recovered=True)
        await socket.wait_closed()

    script.parts = [leaving, elsewhere]
    urls = [script.url + "/a/", script.url + "/b"]
    async with join(urls, "r", options=QUICK) as room:
        assert await anext(room) == Interrupted("going_away", GOING_AWAY.text)
        await eventually(lambda: room.connected)
    assert [path.partition("?")[0] for path in script.asked] == ["/a/rooms/r", "/b/rooms/r"]
