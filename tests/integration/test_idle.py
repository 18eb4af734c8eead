"""An idle connection keeps no task, no parser and no request; one whose response is held, one task and no request."""

import asyncio
import base64
import gc
import json
import socket
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from relay.app import create_app
from relay.config import Settings
from relay.rooms.member import TreeMember
from relay.wire.asgi import AsgiWebSocket
from relay.wire.held import HeldProtocol
from relay.wire.http import HttpProtocol
from relay.wire.websocket import WebSocketProtocol
from tests.fleet import eventually
from tests.gateways.drivers.websync import WebSyncRequests, written
from tests.unit.serving import Running, running

CROWD = 50
PLACE = "peer=p%d&resume=0123456789abcdef0123456789abcdef"
STREAM = (f"/rooms/r%d/events?{PLACE}",)
POLLS = (f"/rooms/r%d/messages?{PLACE}&wait=0", f"/rooms/r%d/messages?{PLACE}&wait=60")
"""Paths for a room and a peer: requests of one client, of which the last one is held."""

MOST_HELD = 12_288
"""Bytes that a held response may take. It is about 9,000 here, with asyncio's loop and the room in memory, and 11,500
with the channels and records of a WebSync page, or a listen of a Firebase page; an ASGI call that waits takes 24,000.
"""

BROWSER = "".join(f"{name}: {'x' * size}\r\n" for name, size in {"Accept": 3, "Cookie": 200, "User-Agent": 150}.items())


def count(kind: type) -> int:
    gc.collect()
    return sum(type(one) is kind for one in gc.get_objects())


def tasks_now() -> int:
    """How many tasks there are, but for the one that renews rooms once a second, if it is due just now."""
    return sum(task.get_name() != "renewal of rooms" for task in asyncio.all_tasks())


def tasks_of_sessions() -> int:
    return sum(task.get_name() == "session" for task in asyncio.all_tasks())


async def tasks_of_nobody(served: Running) -> int:
    """How many tasks a server has that has started, and whose last request is over."""
    await served.ask(b"GET /health/live HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n")
    await eventually(lambda: not served.server.server_state.tasks)
    return tasks_now()


async def test_a_connection_that_says_nothing_keeps_no_task_no_parser_and_no_request() -> None:
    async with running(create_app(Settings())) as served:
        tasks = await tasks_of_nobody(served)
        clients = [await served.upgrade() for _ in range(CROWD)]
        for reader, _ in clients:
            assert b'"welcome"' in await reader.readuntil(b"}")
        await eventually(lambda: tasks_now() == tasks)
        protocols = [one for one in gc.get_objects() if type(one) is WebSocketProtocol]
        assert len(protocols) == CROWD
        assert all(protocol._parser is None for protocol in protocols)
        await eventually(lambda: count(AsgiWebSocket) == count(HttpProtocol) == 0)
        del protocols
        for _, writer in clients:
            writer.transport.abort()
        await eventually(lambda: count(WebSocketProtocol) == 0)
        assert tasks_now() == tasks


async def test_a_storm_of_handshakes_ends_with_as_many_tasks_as_it_began() -> None:
    async with running(create_app(Settings())) as served:
        tasks = await tasks_of_nobody(served)
        for _ in range(3):
            clients = await asyncio.gather(*[served.upgrade() for _ in range(CROWD)])
            for reader, writer in clients:
                assert b'"welcome"' in await reader.readuntil(b"}")
                writer.transport.abort()
        await eventually(lambda: tasks_now() == tasks)


# Responses that are held.


CLASSIC_STREAM = ("connect?transport=serverSentEvents&%s",)
CLASSIC_POLLS = ("connect?transport=longPolling&%s", "poll?transport=longPolling&%s&wait=60")
"""The same for SignalR 2.x, below `/rooms/NAME/signalr` and with the query of each request of a page."""


class Listeners:
    """Clients whose last response is held; over sockets without streams, which would take memory themselves.

    `mark` is in the responses that are not held.
    """

    def __init__(self, served: Running, paths: Sequence[str], mark: bytes = b'"welcome"') -> None:
        self._address = ("127.0.0.1", served.port)
        self._paths = paths
        self._mark = mark
        self._sockets: list[socket.socket] = []

    async def more(self, count: int) -> None:
        first = len(self._sockets)
        for number in range(first, first + count):
            connected = socket.create_connection(self._address)
            connected.setblocking(False)
            self._sockets.append(connected)
            for path in await self.paths_of(connected, number):
                await self._ask(connected, path)
        await eventually(lambda: count_held() == len(self._sockets))

    async def paths_of(self, connected: socket.socket, number: int) -> Sequence[str]:
        """The paths of one client, which has this connection."""
        return [path % (number // 2, number) for path in self._paths]

    def close(self) -> None:
        for one in self._sockets:
            one.close()

    async def _ask(self, connected: socket.socket, path: str) -> None:
        if path.endswith("wait=60"):
            await self.request(connected, path, b"")
        else:
            await self.request(connected, path, self._mark)

    async def request(self, connected: socket.socket, path: str, mark: bytes, body: bytes | None = None) -> bytes:
        """Make a request, and return the arrived part of the response once it has this mark."""
        loop = asyncio.get_running_loop()
        method, length = ("GET", "") if body is None else ("POST", f"Content-Length: {len(body)}\r\n")
        head = f"{method} {path} HTTP/1.1\r\nHost: relay\r\n{BROWSER}{length}\r\n".encode()
        await loop.sock_sendall(connected, head + (body or b""))
        return await self.until(connected, mark)

    async def until(self, connected: socket.socket, mark: bytes) -> bytes:
        """Return the bytes of responses that arrive until they have this mark."""
        loop, received = asyncio.get_running_loop(), b""
        async with asyncio.timeout(20):
            while mark not in received:
                received += await loop.sock_recv(connected, 4096)
        return received


class ClassicListeners(Listeners):
    """Pages of SignalR 2.x."""

    async def paths_of(self, connected: socket.socket, number: int) -> Sequence[str]:
        room = f"/rooms/r{number // 2}/signalr"
        answer = await self.request(connected, f"{room}/negotiate?clientProtocol=2.1", b"LongPollDelay")
        token = answer.partition(b'"ConnectionToken":"')[2].partition(b'"')[0].decode()
        data = "connectionData=%5B%7B%22name%22%3A%22webrtchub3%22%7D%5D"
        return [f"{room}/{path % f'connectionToken={token}&{data}'}" for path in self._paths]


class WebSyncPage(WebSyncRequests):
    """A page whose requests `request` sends, which takes the query, a mark, and the body."""

    def __init__(self, request: Callable[..., Awaitable[bytes]]) -> None:
        super().__init__()
        self._request = request

    async def post_body(self, body: bytes) -> list[dict[str, Any]]:
        received = await self._request(b"}]", body)
        answer: list[dict[str, Any]] = json.loads(received.partition(b"\r\n\r\n")[2])
        return answer

    async def wait(self) -> None:
        """Send a connect, which is not answered yet."""
        await self._request(b"", written([self.connect()]))


class WebSyncListeners(Listeners):
    """Pages of WebSync in rooms of two, which have joined the shared channel and wait for messages."""

    def __init__(self, served: Running) -> None:
        super().__init__(served, ())
        # The page that waits for another one in its room; the memory of the other pages is not to count.
        self._alone: list[tuple[socket.socket, WebSyncPage]] = []

    async def paths_of(self, connected: socket.socket, number: int) -> Sequence[str]:
        page = WebSyncPage(partial(self.request, connected, f"/rooms/r{number // 2}/websync.ashx?src=js"))
        await page.handshake(comes_back=False)
        await page.post(page.join())
        if number % 2:
            # The page that waits already is told of this one, and waits again.
            other, earlier = self._alone.pop()
            await self.until(other, b"subscribe")
            earlier.acknowledges = True
            await earlier.wait()
        else:
            self._alone.append((connected, page))
        await page.wait()
        return ()


class FirebaseListeners(Listeners):
    """Pages of Firebase in rooms of two, which are members by a write, listen, and poll."""

    def __init__(self, served: Running) -> None:
        super().__init__(served, ())

    async def paths_of(self, connected: socket.socket, number: int) -> Sequence[str]:
        begun = await self.request(connected, "/.lp?start=t&cb=1&v=5", b"]);")
        session_id = begun.partition(b"'start',")[2][1:45].decode()
        path = f"/.lp?id={session_id}&pw=-"
        for segment, (action, rest) in enumerate((("p", '/gone","d":null'), ("q", '/chat","h":""'))):
            text = f'{{"t":"d","d":{{"r":{segment},"a":"{action}","b":{{"p":"/r{number // 2}{rest}}}}}}}'
            data = base64.b64encode(text.encode()).decode().translate(str.maketrans("+/=", "-_."))
            answer = await self.request(connected, f"{path}&seg0={segment}&ts0=1&d0={data}", b"]);")
            while b'"s":"ok"' not in answer:
                answer = await self.request(connected, path, b"]);")
        return [f"{path}&wait=60"]


class FirebaseStreams(Listeners):
    """Programs in rooms of two that read the changes of a value, and have become members by that."""

    def __init__(self, served: Running) -> None:
        super().__init__(served, ())

    async def more(self, number: int) -> None:
        await super().more(number)
        await eventually(lambda: count(TreeMember) == len(self._sockets))
        # Each has a task for its held response; those of the last joins may go on for some turns.
        await eventually(lambda: tasks_of_sessions() == len(self._sockets))

    async def paths_of(self, connected: socket.socket, number: int) -> Sequence[str]:
        head = f"GET /r{number // 2}.json HTTP/1.1\r\nHost: relay\r\nAccept: text/event-stream\r\n{BROWSER}\r\n"
        await asyncio.get_running_loop().sock_sendall(connected, head.encode())
        await self.until(connected, b"event: put")
        return ()


def count_held() -> int:
    return count(HeldProtocol)


@pytest.mark.parametrize(
    "listening",
    [
        pytest.param(partial(Listeners, paths=STREAM), id="streams"),
        pytest.param(partial(Listeners, paths=POLLS), id="polls"),
        pytest.param(partial(ClassicListeners, paths=CLASSIC_STREAM, mark=b'"S":1'), id="signalr-classic-streams"),
        pytest.param(partial(ClassicListeners, paths=CLASSIC_POLLS, mark=b'"S":1'), id="signalr-classic-polls"),
        pytest.param(WebSyncListeners, id="websync"),
        pytest.param(FirebaseListeners, id="firebase"),
        pytest.param(FirebaseStreams, id="firebase-streams"),
    ],
)
async def test_a_held_response_keeps_one_task_and_little_memory(listening: Callable[[Running], Listeners]) -> None:
    async with running(create_app(Settings())) as served:
        tasks = await tasks_of_nobody(served)
        listeners = listening(served)
        tracemalloc.start()
        try:
            await listeners.more(10)  # these load code and fill caches
            # Beside the task of each, one may note the positions of all.
            shared = tasks_now() - tasks - 10
            assert 0 <= shared <= 1
            before, _ = tracemalloc.get_traced_memory()
            await listeners.more(CROWD)
            taken = (tracemalloc.get_traced_memory()[0] - before) / CROWD
            assert taken < MOST_HELD
            assert count(HttpProtocol) == count(RequestResponseCycle) == 0
            assert tasks_now() == tasks + shared + 10 + CROWD
        finally:
            tracemalloc.stop()
            listeners.close()
        await eventually(lambda: count_held() == 0)
        await eventually(lambda: tasks_now() == tasks)


MOST_OF_PAGE = 12_288
"""Bytes that an idle page of Firebase may take, which listens in a room of two: it is about 7,400 here."""


def masked(text: str) -> bytes:
    """Return a text message as a client sends it, with a mask of zeros."""
    data = text.encode()
    return b"\x81" + bytes([0x80 | len(data)]) + bytes(4) + data


async def until_heard(connected: socket.socket, mark: bytes) -> None:
    received = b""
    async with asyncio.timeout(20):
        while mark not in received:
            received += (heard := await asyncio.get_running_loop().sock_recv(connected, 4096))
            assert heard, received


async def listening_page(port: int, number: int) -> socket.socket:
    """Connect as a page of Firebase, become a member by a write, and listen."""
    loop, connected = asyncio.get_running_loop(), socket.create_connection(("127.0.0.1", port))
    connected.setblocking(False)
    head = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    head += f"Sec-WebSocket-Key: {'A' * 22}==\r\n"
    await loop.sock_sendall(connected, f"GET /.ws?v=5 HTTP/1.1\r\nHost: relay\r\n{head}{BROWSER}\r\n".encode())
    await until_heard(connected, b'"v":"5"')
    for action, rest in (("p", ',"d":null'), ("q", ',"h":""')):
        request = f'{{"t":"d","d":{{"r":1,"a":"{action}","b":{{"p":"/r{number // 2}"{rest}}}}}}}'
        await loop.sock_sendall(connected, masked(request))
        await until_heard(connected, b'"s":"ok"')
    return connected


async def test_an_idle_page_of_firebase_takes_little_memory() -> None:
    async with running(create_app(Settings())) as served:
        tasks = await tasks_of_nobody(served)
        pages = [await listening_page(served.port, number) for number in range(10)]  # these load code and fill caches
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            pages += [await listening_page(served.port, number) for number in range(10, 10 + CROWD)]
            await eventually(lambda: tasks_now() == tasks)
            gc.collect()
            taken = (tracemalloc.get_traced_memory()[0] - before) / CROWD
        finally:
            tracemalloc.stop()
            for page in pages:
                page.close()
        assert taken < MOST_OF_PAGE
