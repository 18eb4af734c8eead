"""The requests of Socket.IO 0.9 clients: a handshake, and then one transport under the id that it gave."""

import asyncio
import re
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope, Send

from relay.config import Settings
from relay.gateways.base.admission import admit
from relay.gateways.base.join_request import PauseReading
from relay.gateways.base.websocket import client_address, deny, header, serve
from relay.gateways.socketio.engine import EngineSession, EngineSessions
from relay.gateways.socketio.forwarding import Forwarder
from relay.gateways.socketio.gateway import read_pairs
from relay.gateways.socketio.namespaces import ProtocolVersion
from relay.gateways.socketio.packets import Payload
from relay.gateways.socketio.polling import Polling
from relay.gateways.socketio.requests import PollingResponses, forward, next_payload, take_post
from relay.gateways.socketio.v09.client import V09Client
from relay.gateways.socketio.v09.packets import V09Encoder, V09Framing
from relay.model.errors import Refused
from relay.rooms.connection import Connection, Receiver
from relay.rooms.worker import Worker

_PATH: Final = re.compile(r"/socket\.io/1/([a-z-]*)/([A-Za-z0-9_-]{22})/?", re.ASCII)
_FRAMING: Final = V09Framing()
_UNKNOWN: Final = Payload(b"7:::1+0")
"""What a client of an unknown session is told: it is not handshaken, and is to begin anew."""

_BEGIN_WITHIN: Final = 30.0
"""Seconds from the handshake to the first poll."""


class V09Gateway:
    """The ASGI application below `/socket.io/1/`.

    The id of a session that goes over WebSocket says nothing, so any worker takes it; one that polls stays where its
    handshake was.
    """

    def __init__(self, settings: Settings, forwarder: Forwarder) -> None:
        self._settings = settings
        self._forwarder = forwarder
        self._answers = PollingResponses(settings)
        self._version = ProtocolVersion(settings, "socketio0.9", V09Encoder)
        self._engines: EngineSessions | None = None
        self._expected: dict[str, asyncio.TimerHandle] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one WebSocket."""
        worker: Worker = scope["state"]["worker"]
        try:
            query = read_pairs(scope)
            found = _PATH.fullmatch(scope["path"])
            if scope["type"] == "websocket":
                if found is None or found[1] != "websocket":
                    raise Refused("bad_transport")
                opening = partial(self._open, self._sessions(worker), query.get("room"), client_address(scope))
                await serve(scope, receive, send, opening=opening, subprotocol=next(iter(scope["subprotocols"]), None))
            elif scope["method"] == "OPTIONS":
                await self._answers.send(scope, send, b"", status=204)
            elif found is None:
                await self._handshake(scope, send, worker, query)
            elif "disconnect" in query:
                await self._disconnect(scope, receive, send, worker, found[2])
            else:
                await self._request(scope, receive, send, worker, query.get("room"), *found.groups())
        except Refused as error:
            worker.metrics.errors.labels(error.code).inc()
            if scope["type"] == "websocket":
                await deny(scope, receive, send, msgspec.json.encode(error.body), error.status)
            else:
                await self._answers.send(scope, send, error.text.encode(), status=error.status)

    def _sessions(self, worker: Worker) -> EngineSessions:
        if self._engines is None or self._engines.worker is not worker:
            self._engines = EngineSessions(worker)
        return self._engines

    def _open(
        self,
        engines: EngineSessions,
        room: str | None,
        address: str,
        connection: Connection,
        pause_reading: PauseReading,
    ) -> tuple[Receiver, Coroutine[Any, Any, None]]:
        engine = self._new(engines, room, address, socket=(connection, pause_reading))
        return engine, engine.open()

    def _new(
        self,
        engines: EngineSessions,
        room: str | None,
        address: str,
        *,
        sid: str = "",
        socket: tuple[Connection, PauseReading] | None = None,
    ) -> EngineSession:
        listener = partial(V09Client, self._version, room)
        return EngineSession(
            engines, _FRAMING, address=address, wants_text=False, listener=listener, socket=socket, sid=sid
        )

    async def _handshake(self, scope: Scope, send: Send, worker: Worker, query: dict[str, str]) -> None:
        if scope["path"].rstrip("/") != "/socket.io/1":
            raise Refused("bad_transport")
        if "jsonp" in query:
            raise Refused("jsonp_unsupported")
        if scope["method"] != "GET":
            raise Refused("bad_handshake")
        admit(worker, header(scope, b"origin"), client_address(scope))
        worker.addresses.release(client_address(scope))
        sid = worker.random.resume_key()
        if len(self._expected) < self._settings.max_connections:
            expire = asyncio.get_running_loop().call_later(_BEGIN_WITHIN, self._expected.pop, sid, None)
            self._expected[sid] = expire
        patience = round(self._settings.ping_interval + self._settings.ping_timeout)
        text = f"{sid}:{max(1, patience)}:{max(1, patience)}:websocket,xhr-polling"
        await self._answers.send(scope, send, text.encode("ascii"), sid=sid)

    async def _request(
        self, scope: Scope, receive: Receive, send: Send, worker: Worker, room: str | None, transport: str, sid: str
    ) -> None:
        if transport != "xhr-polling":
            raise Refused("bad_transport")
        engines = self._sessions(worker)
        engine = engines.get(sid)
        expected = self._expected.pop(sid, None)
        if engine is None and expected is not None:
            expected.cancel()
            address = self._forwarder.client_address(scope)
            admit(worker, header(scope, b"origin"), address)
            worker.metrics.handshakes.inc()
            engine = self._new(engines, room, address, sid=sid)
            await engine.open()
        if engine is None or not isinstance(engine.connection, Polling):
            left = engines.last_words(sid)
            if left is None and engine is None:
                if await forward(scope, receive, send, self._forwarder, sid, limit=engines.largest):
                    return
                worker.metrics.errors.labels("unknown_session").inc()
            await self._answers.send_payload(scope, send, _UNKNOWN if left is None else left)
        elif scope["method"] == "POST":
            if await take_post(scope, receive, engine, engine.connection):
                await self._answers.send(scope, send, b"1", sid=sid)
        else:
            payload = await next_payload(receive, engine, engine.connection)
            if payload is not None:
                await self._answers.send_payload(scope, send, payload, sid=sid)

    async def _disconnect(self, scope: Scope, receive: Receive, send: Send, worker: Worker, sid: str) -> None:
        engines = self._sessions(worker)
        engine = engines.get(sid)
        if engine is not None:
            engine.disconnected(1000, None)
            await self._answers.send(scope, send, b"")
        elif not await forward(scope, receive, send, self._forwarder, sid, limit=engines.largest):
            await self._answers.send_payload(scope, send, _UNKNOWN)
