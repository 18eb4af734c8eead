"""Serves one WebSocket connection from the handshake on, by either of two ways.

The relay's own server offers its `Wire` in the scope: the session takes the connection over, the ASGI call returns, and
an idle client costs no task. Any other ASGI server (hypercorn, test clients) offers `receive` and `send` alone: then
one task reads and another writes for as long as the client is connected.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from relay.gateways.base.admission import admit
from relay.model.codec import Frame
from relay.model.errors import STATUS_HEADERS, CloseReason
from relay.rooms.admissions import Ticket
from relay.rooms.connection import (
    ARRIVED_EXTENSION,
    CLOSE_TIMEOUT,
    CLOSED_EXTENSION,
    GREETING_EXTENSION,
    WIRE_EXTENSION,
    Connection,
    QueuedConnection,
    Receiver,
    Wire,
    WireConnection,
)
from relay.rooms.worker import Worker
from relay.tasks import log_death

Opening = Callable[[Connection], tuple[Receiver, Coroutine[Any, Any, None]]]
"""Makes the receiver of a connection's frames, and a coroutine that greets the client."""

AdmittedOpening = Callable[[Connection, Ticket], tuple[Receiver, Coroutine[Any, Any, None]]]
"""The same for a client that was admitted with this ticket, which the receiver releases at the end."""


async def serve(
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    protocol: str,
    opening: AdmittedOpening,
    subprotocol: str | None,
    keepalive: bool = True,
    greets: bool = False,
) -> None:
    """Admit a client, and serve its WebSocket as `accept` does.

    `protocol` is the name of the gateway. Raises `Refused`, as `admit` does, before the WebSocket is accepted.
    """
    with admit(scope, protocol) as ticket:
        await accept(
            scope,
            receive,
            send,
            ticket=ticket,
            opening=lambda connection: opening(connection, ticket),
            subprotocol=subprotocol,
            keepalive=keepalive,
            greets=greets,
        )


async def accept(
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    ticket: Ticket,
    opening: Opening,
    subprotocol: str | None,
    keepalive: bool = True,
    greets: bool = False,
) -> None:
    """Accept and serve the WebSocket of a client that was admitted before, with this ticket.

    Returns when the client has been greeted, if the server lets the session take the connection over, else at the end
    of the connection. Without `keepalive`, the server sends no WebSocket pings: the client protocol has a heartbeat of
    its own. With `greets`, the greeting sends a first frame as soon as it can, also to a client that it refuses.
    """
    worker: Worker = scope["state"]["worker"]
    wire: Wire | None = scope.get("extensions", {}).get(WIRE_EXTENSION)
    if wire is None:
        websocket = WebSocket(scope, receive, send)
        await websocket.accept(subprotocol)
        ticket.metrics.handshakes += 1
        await _AsgiConnection(websocket, worker.settings.send_buffer, ticket, opening).run()
        return
    await receive()
    accepted: dict[str, Any] = {"type": "websocket.accept", "subprotocol": subprotocol}
    if greets:
        accepted[GREETING_EXTENSION] = True
    await send(accepted)
    ticket.metrics.handshakes += 1
    limit = worker.settings.send_buffer
    connection = WireConnection(wire, limit=limit, metrics=ticket.metrics, buffering=ticket)
    receiver, greeting = opening(connection)
    # Attached before the greeting: frames that arrive meanwhile are the receiver's, and wait in its inbox.
    wire.attach(receiver, keepalive=keepalive)
    await greeting


def arrival(scope: Scope) -> float:
    """Return when the request of a WebSocket arrived, on the worker's clock; now, if the server does not say."""
    arrived = scope.get("extensions", {}).get(ARRIVED_EXTENSION)
    return time.monotonic() if arrived is None else float(arrived)


async def deny(scope: Scope, receive: Receive, send: Send, body: bytes, status: int) -> None:
    """Refuse a handshake with this status and JSON body; with a plain 403 where the server can send no other."""
    websocket = WebSocket(scope, receive, send)
    headers = {"X-Content-Type-Options": "nosniff", **STATUS_HEADERS.get(status, {})}
    response = Response(body, status, headers, "application/json")
    if "websocket.http.response" in websocket.scope.get("extensions", {}):
        await websocket.send_denial_response(response)
    else:
        await websocket.close()


class _AsgiConnection:
    """A connection over plain ASGI: the caller's task reads, and a task of its own writes."""

    # Attributes that `run` deletes; a compiled class would keep them.
    __deletable__ = ("_connection", "_receiver", "_greeting")

    def __init__(self, websocket: WebSocket, limit: int, ticket: Ticket, opening: Opening) -> None:
        self._websocket = websocket
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._deadline = asyncio.timeout(None)
        self._ended = False
        self._connection = QueuedConnection(
            send=self._send,
            send_close=self._send_close,
            on_close=self._on_close,
            on_pause=self._on_pause,
            limit=limit,
            metrics=ticket.metrics,
            buffering=ticket,
        )
        self._receiver, self._greeting = opening(self._connection)

    async def run(self) -> None:
        """Serve the connection to its end.

        After the relay has closed it, the client has `CLOSE_TIMEOUT` seconds to take the written frames. ASGI has no
        way to drop a client that reads nothing, so the connection is left to the server then.
        """
        writer = asyncio.create_task(self._connection.run_writer(), name="writer of a connection")
        writer.add_done_callback(self._writer_ended)
        code, relay_closed = 1006, None
        try:
            with suppress(TimeoutError):
                async with self._deadline:
                    await self._greeting
                    code, relay_closed = await self._read()
        finally:
            self._ended = True
            self._receiver.disconnected(code, relay_closed)
            writer.cancel()
            await asyncio.wait([writer])
            self._connection.release()
            # The connection refers to this object by its callbacks, and the receiver to the connection. Without these,
            # no cycle keeps a closed session in memory until the garbage collector runs.
            del self._connection, self._receiver, self._greeting

    def _writer_ended(self, writer: asyncio.Task[None]) -> None:
        log_death(writer)
        if not self._ended and not writer.cancelled() and writer.exception() is not None:
            # A connection to which nothing is written any more is of no use.
            self._deadline.reschedule(asyncio.get_running_loop().time())

    async def _read(self) -> tuple[int, str | None]:
        """Hand every message to the receiver; returns the close code, and why the server closed, if it did."""
        while True:
            await self._may_read.wait()
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return message.get("code") or 1005, message.get(CLOSED_EXTENSION)
            text = message.get("text")
            self._receiver.received(Frame(message["bytes"], is_text=False) if text is None else Frame(text.encode()))

    def _on_pause(self, paused: bool) -> None:
        if paused:
            self._may_read.clear()
        else:
            self._may_read.set()

    def _on_close(self) -> None:
        # Read on, if reading was paused: the close of the client's side is to be seen.
        self._may_read.set()
        # A session may close after the client has gone, as it still serves frames that the client sent before.
        if not self._ended:
            self._deadline.reschedule(asyncio.get_running_loop().time() + CLOSE_TIMEOUT)

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
