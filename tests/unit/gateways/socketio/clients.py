"""Clients and connections without a network, for the unit tests of the Socket.IO gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Scope

from relay.config import Settings
from relay.gateways.base.forwarding_state import forwarding_state
from relay.gateways.socketio import routes as socketio
from relay.gateways.socketio.engine import EngineSession, EngineSessions, SessionProfile
from relay.gateways.socketio.gateway import SocketIOGateway
from relay.gateways.socketio.packets import FRAMINGS, BadPacket
from relay.gateways.socketio.payload_writer import PayloadWriter
from relay.gateways.socketio.v09.gateway import V09Gateway
from relay.model.codec import Batch, Frame
from relay.model.errors import CloseReason
from relay.rooms.connection import WIRE_EXTENSION, Receiver, Transfer
from relay.rooms.worker import Worker


class FakeConnection:
    """A WebSocket connection that keeps the written frames."""

    lost = False

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.texts: list[bool] = []
        self.paused: list[bool] = []
        self.reason: CloseReason | None = None
        self.changed = asyncio.Event()

    def transfer(self) -> Transfer | None:
        return None

    def write(self, frame: Frame) -> None:
        for part in frame.parts:
            self.written.append(part.data)
            self.texts.append(part.is_text)
        self.changed.set()

    def write_batch(self, batch: Batch) -> None:
        for frame in batch.frames:
            self.write(frame)

    def close(self, reason: CloseReason) -> None:
        self.reason = self.reason or reason
        self.changed.set()

    def pause_reading(self, *, paused: bool) -> None:
        self.paused.append(paused)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until a condition holds that a write or a close brings about."""
        async with asyncio.timeout(5):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


class FakeHandler:
    """An `EngineHandler` that keeps its messages; a message `bad` is no packet to it."""

    watched = False

    def __init__(self, session: EngineSession) -> None:
        self.session = session
        self.messages: list[bytes] = []
        self.ended: list[bool] = []
        self.closed: list[tuple[CloseReason, bool]] = []

    async def opened(self) -> None:
        self.session.connection.write(Frame(b"0{}"))

    def message(self, data: bytes, *, binary: bool) -> None:
        if data == b"bad":
            raise BadPacket("a bad one")
        self.messages.append(data)

    def close_gracefully(self, reason: CloseReason, *, now: bool) -> None:
        self.closed.append((reason, now))

    def disconnected(self, *, goodbye: bool) -> None:
        self.ended.append(goodbye)


class Engine:
    """The sessions of one worker, whose handlers are kept."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.sessions = EngineSessions(worker)
        self.handlers: list[FakeHandler] = []

    def _handler(self, session: EngineSession) -> FakeHandler:
        self.handlers.append(FakeHandler(session))
        return self.handlers[-1]

    def profile(self, version: Any = 4, framing: Any = None, *, text_only: bool = False) -> SessionProfile:
        return SessionProfile(PayloadWriter(framing or FRAMINGS[version]), self._handler, text_only=text_only)

    def polling(self, version: Any = 4, framing: Any = None, *, polled: bool = True) -> EngineSession:
        """Begin a session that polls; with `polled`, its first poll has been."""
        ticket = self.worker.admissions.admit("here", "socketio")
        session = self.sessions.begin(self.profile(version, framing), ticket)
        if polled:
            session.polled()
        return session

    def socket(
        self, version: Any = 4, framing: Any = None, *, text_only: bool = False
    ) -> tuple[FakeConnection, EngineSession]:
        """Begin a session on a WebSocket."""
        connection = FakeConnection()
        opening = self.sessions.opening(self.profile(version, framing, text_only=text_only))
        session, opened = opening(connection, self.worker.admissions.admit("here", "socketio"))
        opened.close()
        assert isinstance(session, EngineSession)
        return connection, session


@asynccontextmanager
async def engine(**settings: Any) -> AsyncIterator[Engine]:
    async with Worker(Settings(**settings)) as worker:
        yield Engine(worker)


@dataclass
class Response:
    """The answer of a gateway to a request."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Site:
    """The gateway's applications without a server: `get` and `post` are requests, `dropped` ends the ones that wait."""

    def __init__(self, worker: Worker, forwarding: Mapping[str, object]) -> None:
        self.worker = worker
        self.state = {"worker": worker, **forwarding, **socketio.state(worker)}
        self.dropped = asyncio.Event()
        self._modern = SocketIOGateway(worker.settings)
        self._v09 = V09Gateway(worker.settings)

    def _scope(self, kind: str, url: str, **more: Any) -> Scope:
        path, _, query = url.partition("?")
        return {
            "type": kind,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [],
            "client": ("10.0.0.1", 1000),
            "server": ("10.0.0.2", 8888),
            "scheme": "http",
            "state": self.state,
            "subprotocols": [],
            **more,
        }

    def _application(self, url: str) -> ASGIApp:
        return self._v09 if url.startswith("/socket.io/1") else self._modern

    async def get(self, url: str, **options: Any) -> Response:
        return await self.request("GET", url, **options)

    async def post(self, url: str, body: bytes, **options: Any) -> Response:
        return await self.request("POST", url, body, **options)

    async def request(
        self, method: str, url: str, body: bytes = b"", *, headers: dict[str, str] | None = None, **scope: Any
    ) -> Response:
        """Make a request; the status is 0 if it was dropped before it was answered."""
        response = Response()
        messages = [{"type": "http.request", "body": body}]

        async def receive() -> Message:
            if messages:
                return messages.pop()
            await self.dropped.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                response.status = message["status"]
                response.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                response.body += message["body"]

        pairs = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        scope = self._scope("http", url, method=method, headers=pairs, **scope)
        await self._application(url)(scope, receive, send)
        return response

    async def refused_socket(self, url: str, **more: Any) -> Response:
        """Ask for a WebSocket, and return the answer with which it is refused."""
        response = Response()

        async def receive() -> Message:
            return {"type": "websocket.connect"}

        async def send(message: Message) -> None:
            assert message["type"].startswith("websocket.http.response."), message
            response.status = message.get("status", response.status)
            response.body += message.get("body", b"")

        scope = self._scope("websocket", url, extensions={"websocket.http.response": {}}, **more)
        await self._application(url)(scope, receive, send)
        return response

    async def socket(self, url: str) -> tuple[FakeWire, Receiver]:
        """Open a WebSocket; returns its wire, and the receiver that the gateway has attached to it."""
        wire = FakeWire()

        async def receive() -> Message:
            return {"type": "websocket.connect"}

        async def send(message: Message) -> None:
            assert message["type"] == "websocket.accept", message

        await self._application(url)(self._scope("websocket", url, extensions={WIRE_EXTENSION: wire}), receive, send)
        assert wire.receiver is not None
        return wire, wire.receiver


class FakeWire:
    """A `Wire` that keeps the written bytes, with the heads of frames."""

    lost = False

    def __init__(self) -> None:
        self.receiver: Receiver | None = None
        self.keepalive = True
        self.written = b""
        self.closed = 0
        self.changed = asyncio.Event()

    def attach(self, receiver: Receiver, *, keepalive: bool = True) -> None:
        self.receiver, self.keepalive = receiver, keepalive

    def write(self, data: bytes) -> int:
        self.written += data
        self.changed.set()
        return 0

    @property
    def texts(self) -> list[str]:
        """The text messages in the written bytes (RFC 6455, 5.2; a server does not mask)."""
        found, data = [], self.written
        while data:
            size, start = (data[1], 2) if data[1] < 126 else (int.from_bytes(data[2:4]), 4)
            found.append(data[start : start + size].decode())
            data = data[start + size :]
        return found

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until a condition holds that a write or a close brings about."""
        async with asyncio.timeout(5):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def close(self, code: int, reason: str) -> None:
        self.closed = code
        self.changed.set()

    def abort(self) -> None:
        self.closed = 1006

    def pause_reading(self, *, paused: bool) -> None:
        pass


@asynccontextmanager
async def site(**settings: Any) -> AsyncIterator[Site]:
    async with Worker(Settings(**settings)) as worker:
        with forwarding_state(worker) as forwarding:
            yield Site(worker, forwarding)
