"""Serving one WebSocket connection, from the handshake on: over the wire where the server has one, else over ASGI."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from relay.gateways.base.admission import refusal
from relay.gateways.base.join_request import PauseReading
from relay.model.codec import Frame
from relay.model.errors import ERRORS, CloseReason
from relay.rooms.connection import (
    CLOSE_TIMEOUT,
    CLOSED_EXTENSION,
    WIRE_EXTENSION,
    Connection,
    QueuedConnection,
    Receiver,
    Wire,
    WireConnection,
)
from relay.rooms.worker import Worker

Opening = Callable[[Connection, PauseReading], tuple[Receiver, Coroutine[Any, Any, None]]]
"""Makes what serves a connection that was let in: who is to receive what comes, and what is to be done at first."""


async def serve(
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    opening: Opening,
    subprotocol: str | None,
    keepalive: bool = True,
) -> None:
    """Let a client in, or say why not; returns once it is in, if the server keeps the connection, else at its end.

    It counts against its `client_address` until that is released, which is for the receiver to see to. Without
    `keepalive`, the server sends no WebSocket pings: the client protocol has a heartbeat of its own.
    """
    worker: Worker = scope["state"]["worker"]
    address = client_address(scope)
    code = refusal(worker, header(scope, b"origin"), address)
    if code:
        worker.metrics.errors.labels(code).inc()
        status, text = ERRORS[code]
        await deny(scope, receive, send, msgspec.json.encode({"error": {"code": code, "text": text}}), status)
        return
    wire: Wire | None = scope.get("extensions", {}).get(WIRE_EXTENSION)
    websocket = WebSocket(scope, receive, send) if wire is None else None
    try:
        if websocket is None:
            await receive()
            await send({"type": "websocket.accept", "subprotocol": subprotocol})
        else:
            await websocket.accept(subprotocol)
    except BaseException:
        worker.addresses.release(address)
        raise
    worker.metrics.handshakes.inc()
    if websocket is not None:
        await _AsgiConnection(websocket, worker, opening).run()
    elif wire is not None:
        connection = WireConnection(wire, limit=worker.settings.send_buffer, metrics=worker.metrics)
        receiver, begin = opening(connection, wire.pause_reading)
        wire.attach(receiver, keepalive=keepalive)
        await begin


def client_address(scope: Scope) -> str:
    """The address by which a client is counted; "" where there is none."""
    client = scope.get("client")
    return client[0] if client else ""


def header(scope: Scope, name: bytes) -> str | None:
    """A header of the request, by its lower-case name; None when it is not there."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


async def deny(scope: Scope, receive: Receive, send: Send, body: bytes, status: int) -> None:
    """Refuse a handshake with this JSON."""
    websocket = WebSocket(scope, receive, send)
    headers = {"Retry-After": "2"} if status in {429, 503} else {}
    response = Response(body, status, headers, "application/json")
    if "websocket.http.response" in websocket.scope.get("extensions", {}):
        await websocket.send_denial_response(response)
    else:
        await websocket.close()


class _AsgiConnection:
    """A session over plain ASGI: one task reads, another writes."""

    def __init__(self, websocket: WebSocket, worker: Worker, opening: Opening) -> None:
        self._websocket = websocket
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._closing = asyncio.timeout(None)
        self._connection = QueuedConnection(
            send=self._send,
            send_close=self._send_close,
            on_close=self._on_close,
            limit=worker.settings.send_buffer,
            metrics=worker.metrics,
        )
        self._receiver, self._begin = opening(self._connection, self._pause_reading)

    async def run(self) -> None:
        """Serve to the end. A server cannot be told to drop a stuck reader; it is left to the server then."""
        writer = asyncio.create_task(self._connection.run_writer())
        code, relay_closed = 1006, None
        try:
            async with self._closing:
                await self._begin
                code, relay_closed = await self._read()
        except TimeoutError:
            pass
        finally:
            self._receiver.disconnected(code, relay_closed)
            writer.cancel()
            await asyncio.wait([writer])

    async def _read(self) -> tuple[int, str | None]:
        while True:
            await self._flowing.wait()
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return message.get("code") or 1005, message.get(CLOSED_EXTENSION)
            text = message.get("text")
            self._receiver.received(Frame(message["bytes"], is_text=False) if text is None else Frame(text.encode()))

    def _pause_reading(self, paused: bool) -> None:
        if paused:
            self._flowing.clear()
        else:
            self._flowing.set()

    def _on_close(self) -> None:
        self._flowing.set()
        self._closing.reschedule(asyncio.get_running_loop().time() + CLOSE_TIMEOUT)

    async def _send(self, frame: Frame) -> None:
        try:
            if frame.is_text:
                await self._websocket.send_text(frame.text)
            else:
                await self._websocket.send_bytes(frame.data)
        except WebSocketDisconnect as error:
            raise ConnectionResetError from error

    async def _send_close(self, reason: CloseReason) -> None:
        try:
            await self._websocket.close(reason.code, reason.name)
        except WebSocketDisconnect as error:
            raise ConnectionResetError from error
