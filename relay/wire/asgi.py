"""A WebSocket connection as an ASGI application sees it.

ASGI keeps one task per connection waiting in `receive`. The relay's gateways do without: they take the connection over
(`WIRE_EXTENSION` in the scope) and return, and from then on frames go straight from the socket to their session. This
module serves the ASGI calls until then: the accept, a refusal, and applications that never take over.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, MutableMapping
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp, Scope
from uvicorn.protocols.utils import ClientDisconnected

from relay.addresses import counted_address
from relay.model.codec import Frame
from relay.model.errors import INTERNAL, NORMAL
from relay.rooms.connection import (
    ARRIVED_EXTENSION,
    CLOSE_TIMEOUT,
    CLOSED_EXTENSION,
    GREETING_EXTENSION,
    WIRE_EXTENSION,
)
from relay.wire.closing import half_close
from relay.wire.handshake import Headers, accepting, response, websocket_scope
from relay.wire.limits import WireLimits
from relay.wire.websocket import WebSocketProtocol

log = logging.getLogger("relay.wire")

_MAX_WAITING = 8

AsgiMessage = MutableMapping[str, Any]


class AsgiWebSocket:
    """One call of the application for one connection; the connection's `Receiver` until another is attached."""

    def __init__(
        self,
        transport: asyncio.Transport,
        limits: WireLimits,
        request: Scope,
        url: bytes,
        key: bytes,
        arrived: float,
    ) -> None:
        self._transport = transport
        self._key = key
        # Not a queue of asyncio, which costs more: nearly always, the application takes the first message alone.
        self._messages = deque[AsgiMessage]([{"type": "websocket.connect"}])
        self._waiting: asyncio.Future[None] | None = None
        self._accepted = False
        self._refusing = False
        self._ended = False
        self.protocol = WebSocketProtocol(transport, limits, self)
        # Until the accept, a client has nothing to send, and the application could only queue it.
        self.protocol.pause_reading(paused=True)
        extensions = {
            "websocket.http.response": {},
            WIRE_EXTENSION: self.protocol,
            ARRIVED_EXTENSION: arrived,
        }
        self._scope = websocket_scope(request, url, extensions)

    async def run(self, app: ASGIApp) -> None:
        """Call the application; then close the connection, unless the application took it over."""
        try:
            await app(self._scope, self._receive, self._send)
        except ClientDisconnected:
            pass
        except Exception:
            log.exception("the application failed on a WebSocket, which is a bug; the connection is closed")
            self._finish(INTERNAL.code, INTERNAL.name)
        else:
            self._finish(NORMAL.code, "")

    # Events of the connection.

    @property
    def watched(self) -> bool:
        """False: an application that never takes over has no rooms."""
        return False

    def received(self, frame: Frame) -> None:
        """Queue a message for the application; stop reading when too many wait."""
        message: AsgiMessage = {"type": "websocket.receive"}
        if frame.is_text:
            message["text"] = frame.text
        else:
            message["bytes"] = frame.data
        self._put(message)
        if len(self._messages) >= _MAX_WAITING:
            self.protocol.pause_reading(paused=True)

    def disconnected(self, code: int, relay_closed: str | None) -> None:
        """Queue the disconnect."""
        self._ended = True
        self._put({"type": "websocket.disconnect", "code": code, CLOSED_EXTENSION: relay_closed})

    def _put(self, message: AsgiMessage) -> None:
        self._messages.append(message)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    # Calls of the application.

    async def _receive(self) -> AsgiMessage:
        if self._accepted and not self._messages:
            self.protocol.pause_reading(paused=False)
        while not self._messages:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self._messages.popleft()

    async def _send(self, message: AsgiMessage) -> None:
        if self._ended:
            raise ClientDisconnected()
        match message["type"]:
            case "websocket.accept" if not self._accepted:
                greets = message.get(GREETING_EXTENSION, False)
                self._accept(message.get("subprotocol"), message.get("headers", ()), greets=greets)
            case "websocket.send" if self._accepted:
                text = message.get("text")
                frame = Frame(message["bytes"], is_text=False) if text is None else Frame(text.encode())
                self.protocol.write(frame.wire)
                await self.protocol.drain()
            case "websocket.close" if self._accepted:
                self.protocol.close(message.get("code") or NORMAL.code, message.get("reason") or "")
            case "websocket.close":
                # Before the accept, this refuses the handshake (ASGI specification, "Close").
                self._refuse(403, [(b"content-length", b"0")])
                self._end_refusal()
            case "websocket.http.response.start" if not self._accepted:
                self._refuse(message["status"], message.get("headers", ()))
            case "websocket.http.response.body" if self._refusing:
                self._transport.write(message.get("body", b""))
                if not message.get("more_body"):
                    self._end_refusal()
            case kind:
                raise RuntimeError(f"an ASGI application may not send {kind} now")

    def _accept(self, subprotocol: str | None, headers: Headers, *, greets: bool) -> None:
        self._accepted = True
        lines = [*headers]
        if subprotocol:
            lines.append((b"Sec-WebSocket-Protocol", subprotocol.encode("ascii")))
        # The middleware for load balancers has put the client's address into the scope.
        client: Any = self._scope["client"]
        address = counted_address(client[0]) if client else ""
        self.protocol.opened(address, accepting(self._key, lines), greets=greets)
        self.protocol.pause_reading(paused=False)

    def _refuse(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._refusing = True
        phrase = HTTPStatus(status).phrase.encode("ascii")
        self._transport.write(response(b"%d %b" % (status, phrase), [*headers, (b"connection", b"close")]))

    def _end_refusal(self) -> None:
        self._ended = True
        self._transport.set_protocol(_Refused(self.protocol))
        if not self._transport.is_closing():
            self._transport.resume_reading()
        half_close(self._transport)
        asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self._transport.abort)

    def _finish(self, code: int, reason: str) -> None:
        if self._ended or not self.protocol.belongs_to(self):
            return
        if self._accepted:
            self.protocol.close(code, reason)
        else:
            self._refuse(500, [(b"content-length", b"0")])
            self._end_refusal()


class _Refused(asyncio.Protocol):
    """Drops all bytes of a client that was refused, so that it can read why; passes the end of TCP on."""

    def __init__(self, protocol: WebSocketProtocol) -> None:
        self._protocol = protocol

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection."""
        self._protocol.connection_lost(exc)
