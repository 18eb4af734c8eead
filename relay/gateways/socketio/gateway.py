"""The requests of Socket.IO clients: where sessions begin, are polled, and move to a WebSocket."""

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope, Send

from relay.config import Settings
from relay.gateways.base.admission import admit
from relay.gateways.base.join_request import PauseReading
from relay.gateways.base.websocket import client_address, deny, header, serve
from relay.gateways.socketio.client import SocketIOClient
from relay.gateways.socketio.encoders import ModernEncoder
from relay.gateways.socketio.engine import EngineSession, EngineSessions, Upgrade
from relay.gateways.socketio.forwarding import Forwarder
from relay.gateways.socketio.namespaces import ProtocolVersion
from relay.gateways.socketio.packets import FRAMINGS, TEXT_FRAMINGS, Revision, Version
from relay.gateways.socketio.polling import Polling
from relay.gateways.socketio.requests import HTML, JSON, PollingResponses, forward, next_payload, take_post
from relay.model.errors import Refused
from relay.rooms.connection import Connection, Receiver
from relay.rooms.worker import Worker

_MAX_PARAMETERS: Final = 64

_VERSIONS: Final[Mapping[str, Version]] = {"4": 4, "3": 3, "2": 2}

_ANSWERS: Final[Mapping[str, tuple[int, str]]] = {
    "bad_transport": (0, "Transport unknown"),
    "unknown_session": (1, "Session ID unknown"),
    "bad_handshake": (2, "Bad handshake method"),
    "bad_version": (5, "Unsupported protocol version"),
    "bad_origin": (4, "Forbidden"),
}
"""What the reference implementation refuses with: its code and message. All others are 3, Bad request."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a request asks for."""

    version: Version
    transport: str
    sid: str
    room: str | None
    wants_text: bool

    @property
    def revision(self) -> Revision:
        """What is spoken with the client."""
        return 4 if self.version == 4 else 3


class SocketIOGateway:
    """The ASGI application at `/socket.io/`."""

    def __init__(self, settings: Settings, forwarder: Forwarder) -> None:
        self._forwarder = forwarder
        self._versions: Mapping[Revision, ProtocolVersion] = {
            3: ProtocolVersion(settings, "socketio3", partial(ModernEncoder, 3)),
            4: ProtocolVersion(settings, "socketio4", partial(ModernEncoder, 4), offsets=settings.history_size > 0),
        }
        self._answers = PollingResponses(settings)
        self._engines: EngineSessions | None = None

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
            worker.metrics.errors.labels(error.code).inc()
            body, status = refusal_body(error), error.status
            if scope["type"] == "websocket":
                await deny(scope, receive, send, body, status)
            else:
                await self._answers.send(scope, send, body, kind=JSON, status=status)

    def _sessions(self, worker: Worker) -> EngineSessions:
        if self._engines is None or self._engines.worker is not worker:
            self._engines = EngineSessions(worker)
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
                raise Refused("transport_mismatch")
            opening = partial(self._upgrade, engine, client_address(scope))
        await serve(scope, receive, send, opening=opening, subprotocol=subprotocol)

    def _open(
        self, engines: EngineSessions, query: Query, address: str, connection: Connection, pause_reading: PauseReading
    ) -> tuple[Receiver, Coroutine[Any, Any, None]]:
        engine = self._new(engines, query, address, (connection, pause_reading))
        return engine, engine.open()

    def _upgrade(
        self, engine: EngineSession, address: str, connection: Connection, pause_reading: PauseReading
    ) -> tuple[Receiver, Coroutine[Any, Any, None]]:
        # The session was counted when it began.
        engine.worker.addresses.release(address)
        upgrade = Upgrade(engine, connection, pause_reading)
        return upgrade, upgrade.begin()

    def _new(
        self, engines: EngineSessions, query: Query, address: str, socket: tuple[Connection, PauseReading] | None = None
    ) -> EngineSession:
        return EngineSession(
            engines,
            (TEXT_FRAMINGS if query.wants_text else FRAMINGS)[query.version],
            address=address,
            wants_text=query.wants_text,
            listener=partial(SocketIOClient, self._versions[query.revision], query.revision, query.room),
            socket=socket,
        )

    # Long polling.

    async def _serve_request(self, scope: Scope, receive: Receive, send: Send, query: Query) -> None:
        if scope["method"] == "OPTIONS":
            await self._answers.send(scope, send, b"", status=204)
            return
        _check_polling(query)
        engines = self._sessions(scope["state"]["worker"])
        if not query.sid:
            await self._begin(scope, send, engines, query)
            return
        engine = engines.get(query.sid)
        if engine is None:
            left = engines.last_words(query.sid) if scope["method"] == "GET" else None
            if left is not None:
                await self._answers.send_payload(scope, send, left)
            elif not await forward(scope, receive, send, self._forwarder, query.sid, limit=engines.largest):
                raise Refused("unknown_session")
        elif not isinstance(engine.connection, Polling):
            raise Refused("transport_mismatch")
        elif scope["method"] == "GET":
            payload = await next_payload(receive, engine, engine.connection)
            if payload is not None:
                await self._answers.send_payload(scope, send, payload, sid=engine.sid)
        elif scope["method"] == "POST":
            if await take_post(scope, receive, engine, engine.connection):
                # Some browsers would offer anything but HTML as a download.
                await self._answers.send(scope, send, b"ok", kind=HTML, sid=engine.sid)
        else:
            raise Refused("bad_handshake")

    async def _begin(self, scope: Scope, send: Send, engines: EngineSessions, query: Query) -> None:
        if scope["method"] != "GET":
            raise Refused("bad_handshake")
        address = client_address(scope)
        admit(engines.worker, header(scope, b"origin"), address)
        engine = self._new(engines, query, address)
        engines.worker.metrics.handshakes.inc()
        await engine.open()
        if isinstance(engine.connection, Polling):
            payload = engine.connection.poll().result()
            await self._answers.send_payload(scope, send, payload, sid=engine.sid)


def _check_polling(query: Query) -> None:
    if query.transport == "websocket":
        raise Refused("transport_mismatch", "transport=websocket begins with the handshake of a WebSocket")
    if query.transport != "polling":
        raise Refused("bad_transport")


def read_query(scope: Scope) -> Query:
    """Read what a request of Engine.IO asks for; raises `Refused`."""
    found = read_pairs(scope)
    version = _VERSIONS.get(found.get("EIO", ""))
    if scope["type"] == "http" and scope["method"] == "OPTIONS":
        version = 4
    if version is None:
        raise Refused("bad_version")
    if "j" in found:
        raise Refused("jsonp_unsupported")
    return Query(
        version=version,
        transport=found.get("transport", ""),
        sid=found.get("sid", ""),
        room=found.get("room"),
        wants_text=bool(found.get("b64")),
    )


def read_pairs(scope: Scope) -> dict[str, str]:
    """Read a request's query; raises `Refused`."""
    try:
        text = scope["query_string"].decode()
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS))
    except ValueError:
        raise Refused("bad_query", f"a query is UTF-8, with at most {_MAX_PARAMETERS} parameters") from None


def refusal_body(error: Refused) -> bytes:
    """What an Engine.IO client is told: to the byte what it hears elsewhere; where that says nothing, more."""
    if error.code == "too_large":
        return b""
    if error.code in _ANSWERS:
        code, message = _ANSWERS[error.code]
        return msgspec.json.encode({"code": code, "message": message})
    told = {"code": error.code, "text": error.text}
    return msgspec.json.encode({"code": 3, "message": "Bad request", "error": told})
