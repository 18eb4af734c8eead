"""What all requests of polling clients have in common: waiting for a payload, taking one, and how it is answered."""

import asyncio
from typing import Any, Final

from starlette.types import Message, Receive, Scope, Send

from relay.config import Settings
from relay.gateways.base.websocket import header
from relay.gateways.socketio.engine import EngineSession
from relay.gateways.socketio.forwarding import Forwarder
from relay.gateways.socketio.packets import BadPacket, Payload
from relay.gateways.socketio.polling import OverlappingPoll, Polling
from relay.model.errors import BAD_PACKET, Refused

SID_HEADER: Final = b"x-engine-sid"
"""On the answers to a session's requests: its id, for a load balancer to learn which worker has it."""

TEXT: Final = b"text/plain; charset=UTF-8"
HTML: Final = b"text/html"
JSON: Final = b"application/json"
OCTETS: Final = b"application/octet-stream"


async def next_payload(receive: Receive, engine: EngineSession, polling: Polling) -> Payload | None:
    """Wait for what a poll is to be answered with; None when the client goes first. Raises `Refused`."""
    try:
        payload = polling.poll()
    except OverlappingPoll:
        polling.close(BAD_PACKET)
        raise Refused("poll_overlap") from None
    gone = asyncio.create_task(_until_gone(receive))
    waiting: list[asyncio.Future[Any]] = [payload, gone]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
    if payload.done():
        return payload.result()
    engine.drop(polling)
    return None


async def take_post(scope: Scope, receive: Receive, engine: EngineSession, polling: Polling) -> bool:
    """Take what a client posts, and return when more may come; False when it went first. Raises `Refused`."""
    if polling.posting:
        polling.close(BAD_PACKET)
        raise Refused("poll_overlap")
    polling.posting = True
    try:
        body = await _read_body(receive, engine.largest)
        if body is None:
            engine.drop(polling)
            return False
        kind = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
        try:
            engine.post(engine.framing.read_payload(body, binary=kind.encode() == OCTETS))
        except BadPacket as error:
            polling.close(BAD_PACKET)
            raise Refused("bad_packet", str(error)) from None
        await engine.taken()
        return True
    finally:
        polling.posting = False


async def forward(scope: Scope, receive: Receive, send: Send, forwarder: Forwarder, sid: str, *, limit: int) -> bool:
    """Answer with what the sibling says that has this session; False if none has. Raises `Refused`."""
    if not forwarder.can_help(scope):
        return False
    body = await _read_body(receive, limit)
    if body is None:
        return True
    asked = asyncio.create_task(forwarder.ask(scope, sid, body))
    gone = asyncio.create_task(_until_gone(receive))
    waiting: list[asyncio.Future[Any]] = [asked, gone]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        reply = asked.result() if asked.done() else None
    finally:
        # A poll that is broken off here is broken off there.
        asked.cancel()
        gone.cancel()
        await asyncio.wait(waiting)
    if reply is None:
        return gone.done() and not gone.cancelled()
    length = (b"content-length", b"%d" % len(reply.body))
    await send({"type": "http.response.start", "status": reply.status, "headers": [*reply.headers, length]})
    await send({"type": "http.response.body", "body": reply.body})
    return True


class PollingResponses:
    """Writes the answers, for pages of the allowed origins to read."""

    def __init__(self, settings: Settings) -> None:
        self._origins = settings.allowed_origins

    async def send_payload(self, scope: Scope, send: Send, payload: Payload, *, sid: str = "") -> None:
        """Answer a poll."""
        await self.send(scope, send, payload.body, kind=OCTETS if payload.binary else TEXT, sid=sid)

    async def send(
        self, scope: Scope, send: Send, body: bytes, *, kind: bytes = TEXT, status: int = 200, sid: str = ""
    ) -> None:
        """Answer a request; with the `sid` of its session, where it has one."""
        headers = [
            (b"content-type", kind),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            *self._cors(scope),
        ]
        if sid:
            headers.append((SID_HEADER, sid.encode("ascii")))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _cors(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """Let pages of allowed origins read the answer, also where their clients send cookies; we look at none."""
        origin = header(scope, b"origin")
        allowed = self._origins
        if origin is None or ("*" not in allowed and origin not in allowed):
            return []
        wanted = header(scope, b"access-control-request-headers")
        headers = [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-credentials", b"true"),
            (b"vary", b"Origin"),
        ]
        if scope["method"] == "OPTIONS":
            headers.append((b"access-control-allow-methods", b"GET, POST"))
            if wanted is not None:
                headers.append((b"access-control-allow-headers", wanted.encode("latin-1")))
        return headers


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read_body(receive: Receive, limit: int) -> bytes | None:
    """Read a whole body; None when the client goes first. Raises `Refused` as soon as it is known to be too large."""
    body = bytearray()
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > limit:
            raise Refused("too_large", f"at most {limit} bytes at once")
        if not message.get("more_body"):
            return bytes(body)
