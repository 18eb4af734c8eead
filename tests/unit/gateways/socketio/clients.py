"""Clients and connections without a network, for the unit tests of the Socket.IO gateway."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from relay.config import Settings
from relay.gateways.socketio.engine import EngineSession, EngineSessions, SessionProfile
from relay.gateways.socketio.packets import FRAMINGS, BadPacket
from relay.model.codec import Batch, Frame
from relay.model.errors import CloseReason
from relay.rooms.worker import Worker


class FakeConnection:
    """A WebSocket connection that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.texts: list[bool] = []
        self.paused: list[bool] = []
        self.reason: CloseReason | None = None
        self.changed = asyncio.Event()

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
    """An `EngineHandler` that keeps what it is given; a message `bad` is no packet to it."""

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
        return SessionProfile(framing or FRAMINGS[version], self._handler, text_only=text_only)

    def polling(self, version: Any = 4, framing: Any = None) -> EngineSession:
        """Begin a session that polls."""
        self.worker.addresses.admit("here")
        return self.sessions.begin(self.profile(version, framing), "here")

    def socket(
        self, version: Any = 4, framing: Any = None, *, text_only: bool = False
    ) -> tuple[FakeConnection, EngineSession]:
        """Begin a session on a WebSocket."""
        self.worker.addresses.admit("here")
        connection = FakeConnection()
        opening = self.sessions.opening(self.profile(version, framing, text_only=text_only), "here")
        session, opened = opening(connection, connection.pause_reading)
        opened.close()
        assert isinstance(session, EngineSession)
        return connection, session


@asynccontextmanager
async def engine(**settings: Any) -> AsyncIterator[Engine]:
    async with Worker(Settings(**settings)) as worker:
        yield Engine(worker)
