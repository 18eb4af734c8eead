"""The requests of Socket.IO clients: where sessions begin, are polled, and move to a WebSocket."""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Message, Receive, Scope, Send

from relay.config import Settings
from relay.connection import Connection, Receiver
from relay.errors import BAD_PACKET, Refused
from relay.gateways.admission import refusal
from relay.gateways.serving import client_address, deny, header, serve
from relay.gateways.session import HoldBack
from relay.gateways.socketio.clients import Codecs, SocketClient
from relay.gateways.socketio.engine import Engine, Engines, Upgrade
from relay.gateways.socketio.packets import FRAMINGS, BadPacket, Revision
from relay.gateways.socketio.polling import Overlap, Polling
from relay.worker import Worker

SID_HEADER: Final = b"x-engine-sid"
"""On the answers to a session's polls: its id, for a load balancer to learn which worker has it."""

_TEXT: Final = b"text/plain; charset=UTF-8"
_JSON: Final = b"application/json"
_ANSWERS: Final[Mapping[str, tuple[int, str]]] = {
    "bad_transport": (0, "Transport unknown"),
    "unknown_session": (1, "Session ID unknown"),
    "bad_handshake": (2, "Bad handshake method"),
    "bad_version": (5, "Unsupported protocol version"),
    "bad_origin": (4, "Forbidden"),
}
"""What clients know refusals by: the reference implementation's code and message; all others are 3, Bad request."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a request asks for."""

    revision: Revision
    transport: str
    sid: str
    room: str | None
    wants_text: bool


class SocketIOGateway:
    """The ASGI application at `/socket.io/`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._codecs = Codecs(settings)
        self._engines: Engines | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one WebSocket."""
        worker: Worker = scope["state"]["worker"]
        try:
            query = read_query(scope)
            if scope["type"] == "websocket":
                await self._serve_socket(scope, receive, send, query)
            else:
                await self._serve_request(scope, receive, send, query)
        except Refused as error:
            worker.metrics.refused.labels(error.code).inc()
            body, status = refusal_body(error), error.status
            if scope["type"] == "websocket":
                await deny(scope, receive, send, body, status)
            else:
                await self._answer(scope, send, body, kind=_JSON, status=status)

    def _sessions(self, worker: Worker) -> Engines:
        if self._engines is None or self._engines.worker is not worker:
            self._engines = Engines(worker)
        return self._engines

    # WebSocket.

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send, query: Query) -> None:
        if query.transport != "websocket":
            raise Refused("bad_transport")
        engines = self._sessions(scope["state"]["worker"])
        subprotocol = next(iter(scope["subprotocols"]), None)
        opening = partial(self._open, engines, query, client_address(scope))
        if query.sid:
            engine = engines.get(query.sid)
            if engine is None:
                raise Refused("unknown_session")
            if engine.upgrade is not None or not isinstance(engine.connection, Polling):
                raise Refused("other_transport")
            opening = partial(self._upgrade, engine, client_address(scope))
        await serve(scope, receive, send, opening=opening, subprotocol=subprotocol)

    def _open(
        self, engines: Engines, query: Query, address: str, connection: Connection, hold_back: HoldBack
    ) -> tuple[Receiver, Coroutine[Any, Any, None]]:
        engine = self._new(engines, query, address, (connection, hold_back))
        return engine, engine.open()

    def _upgrade(
        self, engine: Engine, address: str, connection: Connection, hold_back: HoldBack
    ) -> tuple[Receiver, Coroutine[Any, Any, None]]:
        # The session was counted when it began.
        engine.worker.addresses.release(address)
        upgrade = Upgrade(engine, connection, hold_back)
        return upgrade, upgrade.begin()

    def _new(
        self, engines: Engines, query: Query, address: str, socket: tuple[Connection, HoldBack] | None = None
    ) -> Engine:
        return Engine(
            engines,
            FRAMINGS[query.revision],
            address=address,
            wants_text=query.wants_text,
            listener=partial(SocketClient, self._codecs, query.revision, query.room),
            socket=socket,
        )

    # Long polling.

    async def _serve_request(self, scope: Scope, receive: Receive, send: Send, query: Query) -> None:
        if scope["method"] == "OPTIONS":
            await self._answer(scope, send, b"", status=204)
            return
        if query.transport != "polling":
            raise Refused("other_transport" if query.transport == "websocket" else "bad_transport")
        engines = self._sessions(scope["state"]["worker"])
        if not query.sid:
            await self._begin(scope, send, engines, query)
            return
        engine = engines.get(query.sid)
        if engine is None:
            left = engines.last_words(query.sid) if scope["method"] == "GET" else None
            if left is None:
                raise Refused("unknown_session")
            await self._answer(scope, send, left)
        elif not isinstance(engine.connection, Polling):
            raise Refused("other_transport")
        elif scope["method"] == "GET":
            await self._poll(scope, receive, send, engine, engine.connection)
        elif scope["method"] == "POST":
            await self._post(scope, receive, send, engine, engine.connection)
        else:
            raise Refused("bad_handshake")

    async def _begin(self, scope: Scope, send: Send, engines: Engines, query: Query) -> None:
        if scope["method"] != "GET":
            raise Refused("bad_handshake")
        address = client_address(scope)
        code = refusal(engines.worker, header(scope, b"origin"), address)
        if code:
            raise Refused(code)
        engine = self._new(engines, query, address)
        engines.worker.metrics.handshakes.inc()
        await engine.open()
        if isinstance(engine.connection, Polling):
            payload = engine.connection.poll().result()
            await self._answer(scope, send, payload, sid=engine.sid)

    async def _poll(self, scope: Scope, receive: Receive, send: Send, engine: Engine, polling: Polling) -> None:
        try:
            payload = polling.poll()
        except Overlap:
            polling.close(BAD_PACKET)
            raise Refused("poll_overlap") from None
        gone = asyncio.create_task(_until_gone(receive))
        waiting: list[asyncio.Future[Any]] = [payload, gone]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
        if payload.done():
            await self._answer(scope, send, payload.result(), sid=engine.sid)
        else:
            engine.drop()

    async def _post(self, scope: Scope, receive: Receive, send: Send, engine: Engine, polling: Polling) -> None:
        if polling.posting:
            polling.close(BAD_PACKET)
            raise Refused("poll_overlap")
        polling.posting = True
        try:
            body = await _read_body(receive, engine.largest)
            if body is None:
                engine.drop()
                return
            kind = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
            try:
                engine.post(engine.framing.read_payload(body, binary=kind == "application/octet-stream"))
            except BadPacket as error:
                polling.close(BAD_PACKET)
                raise Refused("bad_packet", str(error)) from None
            await engine.taken()
        finally:
            polling.posting = False
        # text/html, as some browsers would offer anything else as a download.
        await self._answer(scope, send, b"ok", kind=b"text/html", sid=engine.sid)

    async def _answer(
        self, scope: Scope, send: Send, body: bytes, *, kind: bytes = _TEXT, status: int = 200, sid: str = ""
    ) -> None:
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
        allowed = self._settings.origins
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


def read_query(scope: Scope) -> Query:
    """Read a request's query; raises `Refused`."""
    try:
        pairs = parse_qsl(scope["query_string"].decode(), keep_blank_values=True, errors="strict", max_num_fields=64)
    except ValueError:
        raise Refused("bad_query") from None
    found = dict(pairs)
    version = found.get("EIO", "")
    if scope["type"] == "http" and scope["method"] == "OPTIONS":
        version = "4"
    if version not in {"3", "4"}:
        raise Refused("bad_version")
    if "j" in found:
        raise Refused("no_jsonp")
    return Query(
        revision=4 if version == "4" else 3,
        transport=found.get("transport", ""),
        sid=found.get("sid", ""),
        room=found.get("room"),
        wants_text=bool(found.get("b64")),
    )


def refusal_body(error: Refused) -> bytes:
    """What an Engine.IO client is told, and beside it what every client of the relay is."""
    code, message = _ANSWERS.get(error.code, (3, "Bad request"))
    told = {"code": error.code, "text": error.text}
    return msgspec.json.encode({"code": code, "message": message, "error": told})


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
