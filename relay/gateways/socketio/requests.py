"""HTTP requests of clients that poll: answering a poll, reading a post, and writing responses."""

import asyncio
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from relay.config import Settings
from relay.gateways.base.admission import header
from relay.gateways.socketio.declaration import SID_HEADER
from relay.gateways.socketio.engine import EngineSession
from relay.gateways.socketio.forwarding import ForwardedReply, Forwarder
from relay.gateways.socketio.packets import BadPacket, Payload
from relay.gateways.socketio.polling import OverlappingPoll, Polling
from relay.http_request import read_body
from relay.model.errors import BAD_PACKET, Refused

TEXT: Final = b"text/plain; charset=UTF-8"
HTML: Final = b"text/html"
JSON: Final = b"application/json"
OCTETS: Final = b"application/octet-stream"


async def next_payload(receive: Receive, session: EngineSession, polling: Polling) -> Payload | None:
    """Wait for the payload that answers a poll; None if the client drops the request. Raises `Refused`."""
    try:
        payload = polling.poll()
    except OverlappingPoll:
        polling.close(BAD_PACKET)
        raise Refused("poll_overlap") from None
    dropped = asyncio.create_task(_until_disconnect(receive))
    waiting: list[asyncio.Future[Any]] = [payload, dropped]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        dropped.cancel()
    if payload.done():
        return payload.result()
    session.request_aborted(polling)
    return None


async def receive_post(scope: Scope, receive: Receive, session: EngineSession, polling: Polling) -> bool:
    """Handle a post, and return when the client may post again; False if it dropped the request. Raises `Refused`."""
    if polling.posting:
        polling.close(BAD_PACKET)
        raise Refused("poll_overlap")
    polling.posting = True
    try:
        body = await read_body(receive, session.max_payload)
        if body is None:
            session.request_aborted(polling)
            return False
        media_type = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
        try:
            session.read_payload(body, binary=media_type.encode() == OCTETS)
        except BadPacket as error:
            raise Refused("bad_packet", str(error)) from None
        await polling.until_resumed()
        return True
    finally:
        polling.posting = False


async def forward(scope: Scope, receive: Receive, send: Send, forwarder: Forwarder, sid: str, *, limit: int) -> bool:
    """Respond as the worker does that has this session; False if no worker has it. Raises `Refused`."""
    if not forwarder.may_forward(scope):
        return False
    body = await read_body(receive, limit)
    if body is None:
        return True
    forwarded = asyncio.create_task(forwarder.forward(scope, sid, body))
    dropped = asyncio.create_task(_until_disconnect(receive))
    waiting: list[asyncio.Future[Any]] = [forwarded, dropped]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        reply: ForwardedReply | None = forwarded.result() if forwarded.done() else None
    finally:
        # Cancelling drops the forwarded request, so that the other worker sees that the client has dropped it.
        forwarded.cancel()
        dropped.cancel()
        await asyncio.wait(waiting)
    if reply is None:
        return dropped.done() and not dropped.cancelled()
    length = (b"content-length", b"%d" % len(reply.body))
    await send({"type": "http.response.start", "status": reply.status, "headers": [*reply.headers, length]})
    await send({"type": "http.response.body", "body": reply.body})
    return True


class PollingResponses:
    """Writes responses that pages of the allowed origins may read."""

    def __init__(self, settings: Settings) -> None:
        self._origins = settings.allowed_origins

    async def send_payload(self, scope: Scope, send: Send, payload: Payload, *, sid: str = "") -> None:
        """Respond to a poll."""
        await self.send(scope, send, payload.body, kind=OCTETS if payload.binary else TEXT, sid=sid)

    async def send(
        self, scope: Scope, send: Send, body: bytes, *, kind: bytes = TEXT, status: int = 200, sid: str = ""
    ) -> None:
        """Respond to a request; `kind` is the media type, `sid` the id of the session, if there is one."""
        headers = [
            (b"content-type", kind),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            *self._cors(scope),
        ]
        if sid:
            headers.append((SID_HEADER.encode("ascii"), sid.encode("ascii")))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _cors(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """Return the CORS headers for a page of an allowed origin.

        Old clients always poll with credentials, which browsers allow only for an origin that is named, not for `*`.
        The relay reads no cookies.
        """
        origin = header(scope, b"origin")
        allowed = self._origins
        if origin is None or ("*" not in allowed and origin not in allowed):
            return []
        headers = [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-credentials", b"true"),
            (b"vary", b"Origin"),
        ]
        if scope["method"] == "OPTIONS":
            requested = header(scope, b"access-control-request-headers")
            headers.append((b"access-control-allow-methods", b"GET, POST"))
            if requested is not None:
                headers.append((b"access-control-allow-headers", requested.encode("latin-1")))
        return headers


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
