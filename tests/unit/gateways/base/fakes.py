"""A connection and a client, for tests of their servers."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.session import WebSocketSession
from relay.gateways.native.codec import NativeCodec
from relay.model.codec import Batch, Frame
from relay.model.errors import CloseReason
from relay.rooms.worker import Worker

CODECS = CodecPair(NativeCodec(), NativeCodec(tagged=True))


class FakeConnection:
    """Keeps the events that were written to it, and whether reading was to pause or to go on."""

    lost = False

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.paused: list[bool] = []
        self.reason: CloseReason | None = None

    def write(self, frame: Frame) -> None:
        if self.reason is None:
            self.events.append(json.loads(frame.data))

    def write_batch(self, batch: Batch) -> None:
        for frame in batch.frames:
            self.write(frame)

    def close(self, reason: CloseReason) -> None:
        self.reason = self.reason or reason

    def pause_reading(self, *, paused: bool) -> None:
        self.paused.append(paused)


class Client:
    """A client of a worker, and the session that serves it."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.connection = FakeConnection()
        self.ticket = worker.admissions.admit("here", "native")
        self.session = WebSocketSession(self.connection, worker, CODECS, self.ticket)

    @property
    def paused(self) -> list[bool]:
        return self.connection.paused

    def send(self, **message: Any) -> None:
        self.session.received(Frame(json.dumps(message).encode()))

    @property
    def answers(self) -> list[str]:
        """The answers after the welcome, by their type and key."""
        events = [event for event in self.connection.events[1:] if "type" in event]
        return [f"{event['type']} {event.get('key', '')}".strip() for event in events]


async def until(condition: Callable[[], object]) -> None:
    """Wait until this is so, within five seconds."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def until_members(worker: Worker, room: str, expected: dict[str, bool]) -> None:
    """Wait until these peers are the room's members; the value tells whether a member is held."""
    async with asyncio.timeout(5):
        while {one.peer: one.held for one in (await worker.roster(room)).members} != expected:
            await asyncio.sleep(0)


class AsgiClient:
    """A WebSocket client as a plain ASGI server presents it to an application."""

    def __init__(self, worker: Worker, path: str = "/", **scope: Any) -> None:
        path, _, query = path.partition("?")
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [],
            "subprotocols": [],
            "client": ("10.0.0.1", 1234),
            "extensions": {"websocket.http.response": {}},
            "state": {"worker": worker},
        } | scope
        self.from_client: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.from_client.put_nowait({"type": "websocket.connect"})
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        return await self.from_client.get()

    async def send(self, message: Any) -> None:
        self.sent.append(dict(message))

    def say(self, **fields: Any) -> None:
        self.from_client.put_nowait({"type": "websocket.receive", "text": json.dumps(fields), "bytes": None})

    def leave(self, code: int = 1000) -> None:
        self.from_client.put_nowait({"type": "websocket.disconnect", "code": code})

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(one["text"]) for one in self.sent if one["type"] == "websocket.send"]

    @property
    def refusal(self) -> tuple[int, dict[str, Any]] | None:
        """Status and body of the refused handshake."""
        starts = [one for one in self.sent if one["type"] == "websocket.http.response.start"]
        bodies = [one for one in self.sent if one["type"] == "websocket.http.response.body"]
        return (starts[0]["status"], json.loads(bodies[0]["body"])) if starts else None
