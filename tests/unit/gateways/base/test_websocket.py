"""Serving a WebSocket: over plain ASGI, over a wire that is handed over, and refused."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from relay.config import Settings
from relay.gateways.base import websocket
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.websocket import serve
from relay.model.codec import Frame
from relay.model.errors import GOING_AWAY, INTERNAL
from relay.rooms.admissions import Ticket
from relay.rooms.connection import WIRE_EXTENSION, Connection, Receiver
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import AsgiClient, until


class Echo:
    """A receiver that sends every frame back, and keeps it."""

    def __init__(self, connection: Connection, ticket: Ticket) -> None:
        self.connection = connection
        self.ticket = ticket
        self.frames: list[Frame] = []
        self.end: tuple[int, str | None] | None = None
        self.greeted = False

    def received(self, frame: Frame) -> None:
        self.frames.append(frame)
        self.connection.write(frame)

    def disconnected(self, code: int, relay_closed: str | None) -> None:
        self.end = (code, relay_closed)
        self.ticket.release()

    async def greet(self) -> None:
        self.greeted = True


class FakeWire:
    """The server's end of a connection that is handed over."""

    lost = False

    def __init__(self) -> None:
        self.receiver: Receiver | None = None
        self.keepalive = True
        self.written: list[bytes] = []
        self.paused = False

    def attach(self, receiver: Receiver, *, keepalive: bool = True) -> None:
        self.receiver, self.keepalive = receiver, keepalive

    def write(self, data: bytes) -> int:
        self.written.append(data)
        return 0

    def pause_reading(self, *, paused: bool) -> None:
        self.paused = paused


class Endpoint(GatewayEndpoint):
    """An endpoint that serves each WebSocket by this function."""

    def __init__(self, served: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        super().__init__(Settings(), "test")
        self._served = served

    async def serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._served(scope, receive, send)


class Served:
    """A request to an endpoint that calls `serve`, as a task."""

    def __init__(self, client: AsgiClient, subprotocol: str | None = None, *, keepalive: bool = True) -> None:
        self.client = client
        self.echo: Echo | None = None
        endpoint = Endpoint(
            partial(serve, protocol="test", opening=self._open, subprotocol=subprotocol, keepalive=keepalive)
        )
        self.task = asyncio.create_task(endpoint(client.scope, client.receive, client.send))

    def _open(self, connection: Connection, ticket: Ticket) -> Any:
        self.echo = Echo(connection, ticket)
        return self.echo, self.echo.greet()

    async def greeted(self) -> Echo:
        await until(lambda: self.task.done() or (self.echo is not None and self.echo.greeted))
        assert self.echo is not None
        return self.echo


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    async with Worker(Settings(connections_per_address=1)) as worker:
        yield worker


async def test_over_asgi_frames_are_exchanged_until_the_client_leaves(worker: Worker) -> None:
    client = AsgiClient(worker)
    served = Served(client, "chat")
    echo = await served.greeted()
    assert client.sent == [{"type": "websocket.accept", "subprotocol": "chat", "headers": []}]
    client.from_client.put_nowait({"type": "websocket.receive", "text": "é"})
    client.from_client.put_nowait({"type": "websocket.receive", "bytes": b"\xff"})
    await until(lambda: len(client.sent) == 3)
    assert [(frame.data, frame.is_text) for frame in echo.frames] == [("é".encode(), True), (b"\xff", False)]
    assert [one.get("text", one.get("bytes")) for one in client.sent[1:]] == ["é", b"\xff"]
    client.leave(1001)
    await served.task
    assert echo.end == (1001, None)
    assert worker.metrics.of("test").handshakes == 1


async def test_over_asgi_a_close_without_a_code_is_1005(worker: Worker) -> None:
    client = AsgiClient(worker)
    served = Served(client)
    echo = await served.greeted()
    client.from_client.put_nowait({"type": "websocket.disconnect"})
    await served.task
    assert echo.end == (1005, None)


async def test_over_asgi_reading_pauses_and_resumes(worker: Worker) -> None:
    client = AsgiClient(worker)
    served = Served(client)
    echo = await served.greeted()
    echo.connection.pause_reading(paused=True)
    for number in range(3):
        client.say(n=number)
    await until(lambda: client.from_client.qsize() == 2)  # the read that was waiting takes one more
    assert len(echo.frames) == 1
    echo.connection.pause_reading(paused=False)
    await until(lambda: len(echo.frames) == 3)
    client.leave()
    await served.task


async def test_over_asgi_the_relay_closes_with_its_reason_after_the_written_frames(worker: Worker) -> None:
    client = AsgiClient(worker)
    served = Served(client)
    echo = await served.greeted()
    echo.connection.pause_reading(paused=True)
    echo.connection.write(Frame(b"last"))
    echo.connection.close(GOING_AWAY)
    await until(lambda: len(client.sent) == 3)
    assert client.sent[1]["text"] == "last"
    assert (client.sent[2]["type"], client.sent[2]["code"]) == ("websocket.close", 1001)
    client.leave(1001)
    await served.task
    assert echo.end == (1001, None)


async def test_over_asgi_a_client_that_does_not_close_is_left_after_a_while(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT", 0.01)
    served = Served(AsgiClient(worker))
    echo = await served.greeted()
    echo.connection.close(GOING_AWAY)
    await served.task
    assert echo.end == (1006, None)


async def test_over_asgi_a_receiver_may_close_after_the_client_has_gone(worker: Worker) -> None:
    client = AsgiClient(worker)
    served = Served(client)
    echo = await served.greeted()
    client.leave()
    await served.task
    echo.connection.close(INTERNAL)
    assert echo.connection.reason is INTERNAL


async def test_over_asgi_closed_connections_are_freed_by_reference_counts_alone(worker: Worker) -> None:
    async def come_and_go() -> None:
        for _ in range(100):
            client = AsgiClient(worker, client=None)
            served = Served(client)
            await served.greeted()
            client.say(n=1)
            client.leave()
            await served.task

    def alive() -> int:
        return sum(type(one) in (Echo, websocket.QueuedConnection) for one in gc.get_objects())

    gc.collect()
    before = alive()
    gc.disable()
    try:
        await come_and_go()
        assert alive() <= before
    finally:
        gc.enable()


@pytest.mark.parametrize("keepalive", [True, False])
async def test_a_wire_is_handed_over_and_the_call_returns(worker: Worker, keepalive: bool) -> None:
    wire = FakeWire()
    client = AsgiClient(worker, extensions={WIRE_EXTENSION: wire})
    served = Served(client, "chat", keepalive=keepalive)
    await served.task
    assert client.sent == [{"type": "websocket.accept", "subprotocol": "chat"}]
    echo = await served.greeted()
    assert wire.receiver is echo
    assert wire.keepalive is keepalive
    wire.receiver.received(Frame(b"a"))
    assert wire.written == [b"\x81\x01a"]
    echo.connection.pause_reading(paused=True)
    assert wire.paused


async def test_a_refused_handshake_gets_status_and_error_in_json_and_is_counted(worker: Worker) -> None:
    first = Served(AsgiClient(worker))
    await first.greeted()
    client = AsgiClient(worker)
    await Served(client).task
    assert client.refusal is not None
    status, body = client.refusal
    assert status == 429
    assert set(body["error"]) == {"code", "text"}
    assert body["error"]["code"] == "too_many_connections"
    (start, _) = client.sent
    assert (b"retry-after", b"2") in start["headers"]
    assert worker.metrics.errors.labels("test", "too_many_connections")._value.get() == 1
    first.client.leave()
    await first.task


async def test_a_server_that_can_send_no_body_refuses_with_a_plain_close(worker: Worker) -> None:
    worker.admit("10.0.0.1", "test")
    client = AsgiClient(worker, extensions={})
    await Served(client).task
    assert [one["type"] for one in client.sent] == ["websocket.close"]


async def test_the_ticket_is_released_if_the_client_goes_during_the_handshake(worker: Worker) -> None:
    client = AsgiClient(worker)

    async def gone(message: Any) -> None:
        raise OSError

    client.send = gone  # type: ignore[method-assign]
    with pytest.raises(OSError):
        await Served(client).task
    assert len(worker.admissions) == 0
