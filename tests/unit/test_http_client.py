"""The HTTP client for other workers: whole and streamed responses, failures, and connections that are used again."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from relay.http_client import MAX_HEAD, HttpClient, HttpConnection, HttpError, Target, Unreachable, connect

GET = b"GET / HTTP/1.1\r\nhost: relay\r\n\r\n"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Origin:
    """A server that counts its connections and requests, and has `handler` answer each request."""

    def __init__(self, handler: Handler) -> None:
        self.connections = 0
        self.requests = 0
        self.gone = asyncio.Event()
        self._handler = handler
        self._tasks: set[asyncio.Task[object]] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while not writer.is_closing():
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                await self._handler(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            self.gone.set()
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def writing(*parts: bytes, close: bool = False) -> Handler:
    async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        if close:
            writer.close()

    return handler


HELLO = writing(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")


@asynccontextmanager
async def origin(handler: Handler = HELLO) -> AsyncIterator[tuple[Origin, Target]]:
    served = Origin(handler)
    server = await asyncio.start_server(served, "127.0.0.1", 0)
    try:
        yield served, ("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await served.stop()


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    one = HttpClient()
    yield one
    one.close()


async def get(client: HttpClient, target: Target, limit: int = 1000) -> tuple[int, bytes]:
    async with client.connection(target) as connection:
        response = await connection.exchange(GET)
        return response.status, await response.read(limit)


async def test_a_connection_is_used_again(client: HttpClient) -> None:
    async with origin() as (served, target):
        for _ in range(5):
            assert await get(client, target) == (200, b"hello")
        assert (served.connections, served.requests) == (1, 5)


async def test_requests_at_the_same_time_have_connections_of_their_own(client: HttpClient) -> None:
    async with origin() as (served, target):
        await asyncio.gather(*[get(client, target) for _ in range(5)])
        assert served.connections == 5
        await asyncio.gather(*[get(client, target) for _ in range(5)])
        assert served.connections == 5


async def test_a_connection_that_the_server_has_closed_is_not_used_again(client: HttpClient) -> None:
    async with origin(writing(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", close=True)) as (served, target):
        assert await get(client, target) == (200, b"hi")
        await asyncio.sleep(0.02)  # the end of the connection arrives
        assert await get(client, target) == (200, b"hi")
        assert served.connections == 2


async def test_a_response_that_ends_its_connection(client: HttpClient) -> None:
    answer = b"HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    async with origin(writing(answer)) as (served, target):
        assert await get(client, target) == (404, b"")
        assert await get(client, target) == (404, b"")
        assert served.connections == 2


async def test_idle_connections_are_closed_after_a_time(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.http_client._IDLE_SECONDS", 0.05)
    async with origin() as (served, target):
        await get(client, target)
        async with asyncio.timeout(5):
            await served.gone.wait()
        assert await get(client, target) == (200, b"hello")
        assert served.connections == 2


async def test_an_old_connection_is_not_used_after_a_stall(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.http_client._IDLE_SECONDS", 0.05)
    async with origin() as (served, target):
        await get(client, target)
        time.sleep(0.1)  # noqa: ASYNC251 - the stall
        await asyncio.sleep(0)
        await get(client, target)
        assert served.connections == 2


async def test_the_number_of_idle_connections_is_bounded(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.http_client._MAX_IDLE", 2)
    async with origin() as (served, target):
        await asyncio.gather(*[get(client, target) for _ in range(5)])
        await asyncio.gather(*[get(client, target) for _ in range(5)])
        assert served.connections == 8


async def test_a_response_without_an_end_arrives_in_parts(client: HttpClient) -> None:
    more = asyncio.Event()

    async def stream(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"3\r\none\r\n")
        await more.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

    async with origin(stream) as (_, target), client.connection(target) as connection:
        response = await connection.exchange(GET)
        assert response.headers == [(b"content-type", b"text/event-stream"), (b"transfer-encoding", b"chunked")]
        assert await response.next_chunk() == b"one"
        assert not response.ended
        more.set()
        assert await response.next_chunk() == b"two"
        assert await response.next_chunk() == b""
        assert response.ended


async def test_a_server_is_not_read_faster_than_the_body_is_taken(client: HttpClient) -> None:
    size = 50_000_000
    written = 0

    async def large(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        while written < size:
            writer.write(bytes(100_000))
            await writer.drain()
            written += 100_000

    async with origin(large) as (_, target), client.connection(target) as connection:
        response = await connection.exchange(GET)
        before = -1
        while written > before:
            before = written
            await asyncio.sleep(0.05)
        assert written < size / 2
        total = 0
        while chunk := await response.next_chunk():
            total += len(chunk)
        assert total == size


async def test_a_request_that_is_given_up_drops_its_connection(client: HttpClient) -> None:
    async with origin(writing()) as (served, target):
        with pytest.raises(TimeoutError):
            async with client.connection(target) as connection, asyncio.timeout(0.05):
                await connection.exchange(GET)
        async with asyncio.timeout(5):
            await served.gone.wait()


async def test_a_response_that_is_not_read_to_its_end_drops_its_connection(client: HttpClient) -> None:
    async with origin(writing(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nhello")) as (served, target):
        async with client.connection(target) as connection:
            await connection.exchange(GET)
        async with asyncio.timeout(5):
            await served.gone.wait()


async def test_abort_fails_a_request_in_progress(client: HttpClient) -> None:
    async with origin(writing()) as (_, target), client.connection(target) as connection:
        asyncio.get_running_loop().call_later(0.02, connection.abort, "no more")
        with pytest.raises(HttpError, match="no more"):
            await connection.exchange(GET)


async def test_an_interim_response_comes_before_the_response(client: HttpClient) -> None:
    interim = b"HTTP/1.1 100 Continue\r\nx-interim: 1\r\n\r\n"
    parts = writing(interim, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
    async with origin(parts) as (_, target), client.connection(target) as connection:
        response = await connection.exchange(GET)
        assert response.headers == [(b"content-length", b"2")]
        assert await response.read(10) == b"hi"


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_a_status_without_a_body(client: HttpClient, status: bytes) -> None:
    async with origin(writing(b"HTTP/1.1 %b\r\nvary: origin\r\n\r\n" % status)) as (served, target):
        for _ in range(2):
            assert (await get(client, target))[1] == b""
        assert served.connections == 1


async def test_the_response_to_head_has_no_body(client: HttpClient) -> None:
    head = writing(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n")
    async with origin(head) as (_, target), client.connection(target) as connection:
        response = await connection.exchange(b"HEAD" + GET[3:], bodyless=True)
        assert (response.status, await response.read(10)) == (200, b"")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nno length",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\ntoo long",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    ],
)
async def test_anything_but_one_whole_response_is_an_error(client: HttpClient, answer: bytes) -> None:
    async with origin(writing(answer, close=True)) as (_, target):
        with pytest.raises(HttpError, match="incomplete"):
            await get(client, target)


async def test_a_body_beyond_the_limit(client: HttpClient) -> None:
    async with origin() as (_, target):
        with pytest.raises(HttpError, match="longer than 4 bytes"):
            await get(client, target, limit=4)


async def test_the_head_is_bounded(client: HttpClient) -> None:
    async with origin(writing(b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 10_000)) as (_, target):
        with pytest.raises(HttpError, match=f"longer than {MAX_HEAD}"):
            await get(client, target)


async def test_a_server_that_speaks_first_is_dropped() -> None:
    ended = asyncio.Event()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        ended.set()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        connection = await connect(("127.0.0.1", server.sockets[0].getsockname()[1]))
        async with asyncio.timeout(5):
            while connection.reusable:
                await asyncio.sleep(0)
        with pytest.raises(HttpError):
            await connection.exchange(GET)
        await ended.wait()


async def test_nothing_listens(tmp_path: object) -> None:
    async with origin() as (_, target):
        pass
    for nowhere in (target, f"{tmp_path}/none"):
        with pytest.raises(Unreachable) as raised:
            await connect(nowhere)
        assert raised.value.refused
        assert str(tmp_path) not in str(raised.value)


async def test_a_server_that_does_not_accept_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("relay.http_client._CONNECT_TIMEOUT", 0.02)
    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
    with pytest.raises(Unreachable) as raised:
        await connect(("127.0.0.1", 9))
    assert not raised.value.refused


async def test_a_connection_serves_one_request_at_a_time() -> None:
    async with origin(writing()) as (_, target):
        connection = await connect(target)
        first = asyncio.create_task(connection.exchange(GET))
        await asyncio.sleep(0)
        with pytest.raises(HttpError, match="in use"):
            await connection.exchange(GET)
        connection.abort()
        with pytest.raises(HttpError):
            await first


async def test_a_connection_that_was_never_opened() -> None:
    with pytest.raises(HttpError):
        await HttpConnection().exchange(GET)
