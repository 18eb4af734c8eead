"""The requests of Socket.IO 0.9: a handshake by itself, then a WebSocket or polls with the id that it has given."""

import asyncio
import re
from functools import partial
from typing import Final

from starlette.types import Receive, Scope, Send

from relay.config import Settings
from relay.gateways.base.admission import admit
from relay.gateways.base.credentials import read_token
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.http import HttpBody, HttpExchange
from relay.gateways.base.http_sessions import answer_poll, answer_post
from relay.gateways.base.websocket import serve
from relay.gateways.socketio.declaration import CREDENTIALS, SID_HEADER, V09_NAME, V09_TOKENS
from relay.gateways.socketio.engine import EngineSessions, SessionProfile
from relay.gateways.socketio.errors import SocketIORefused
from relay.gateways.socketio.namespaces import ProtocolVersion
from relay.gateways.socketio.payload_writer import PayloadWriter
from relay.gateways.socketio.v09.client import V09Client
from relay.gateways.socketio.v09.packets import V09Encoder, V09Framing
from relay.http_request import read_query
from relay.model.errors import Refused
from relay.rooms.worker import Worker

STATE: Final = "socketio-0.9"
"""The key under which `scope["state"]` has the worker's `V09Sessions`."""

_PATH: Final = re.compile(r"/socket\.io/1/([a-z-]*)/([A-Za-z0-9_-]{16,64})/?", re.ASCII)
_WRITER: Final = PayloadWriter(V09Framing(), accepted=HttpBody(b"1"))
_UNKNOWN: Final = HttpBody(b"7:::1+0")
"""The error packet for an unknown session; on "client not handshaken" (1), clients begin anew (0, reconnect)."""

_FIRST_POLL_SECONDS: Final = 30.0
"""How long a handshake is valid for a client that polls."""


class V09Sessions(EngineSessions):
    """The sessions of version 0.9 on one worker, and the handshakes whose session has not begun."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self._handshakes: dict[str, asyncio.TimerHandle] = {}

    def add_handshake(self) -> str:
        """Return the id for a new session; a client may begin it by a poll within 30 seconds.

        As many handshakes are kept as the worker may have connections. An id beyond them is good for a WebSocket only.
        """
        sid = self.new_id()
        if len(self._handshakes) < self.worker.settings.max_connections:
            loop = asyncio.get_running_loop()
            self._handshakes[sid] = loop.call_later(_FIRST_POLL_SECONDS, self._handshakes.pop, sid, None)
        return sid

    def take_handshake(self, sid: str) -> bool:
        """Return whether a session may begin with this id, once."""
        timer = self._handshakes.pop(sid, None)
        if timer is None:
            return False
        timer.cancel()
        return True


class V09Gateway(GatewayEndpoint):
    """The ASGI application below `/socket.io/1/`.

    Any worker accepts a WebSocket: the id in its path is not looked at, because it grants nothing. A session that
    polls is on the worker that answered the handshake, and other workers forward its requests.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, V09_NAME, session_header=SID_HEADER, credentials=CREDENTIALS)
        self._settings = settings
        self._version = ProtocolVersion(settings, "socketio0.9", V09Encoder, ascii_names=True)

    def refusal(self, error: Refused, *, handshake: bool) -> HttpBody:
        """Write an error as text, which pages show; for a WebSocket in the relay's own format."""
        if handshake:
            return super().refusal(error, handshake=handshake)
        return _UNKNOWN if error.code == "unknown_session" else HttpBody(error.text.encode(), status=error.status)

    async def serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Begin a session over a WebSocket."""
        sessions: V09Sessions = scope["state"][STATE]
        parameters = dict(read_query(scope))
        path = _PATH.fullmatch(scope["path"])
        if path is None or path[1] != "websocket":
            raise SocketIORefused("bad_transport")
        opening = sessions.opening(self._profile(scope, parameters))
        subprotocol = next(iter(scope["subprotocols"]), None)
        await serve(scope, receive, send, protocol=V09_NAME, opening=opening, subprotocol=subprotocol, keepalive=False)

    def _profile(self, scope: Scope, parameters: dict[str, str]) -> SessionProfile:
        handler = partial(V09Client, self._version, parameters, read_token(scope, V09_TOKENS))
        return SessionProfile(_WRITER, handler)

    async def serve_request(self, exchange: HttpExchange) -> None:
        """Answer a handshake, or serve a request of a session that polls."""
        sessions: V09Sessions = exchange.scope["state"][STATE]
        parameters = dict(read_query(exchange.scope))
        path = _PATH.fullmatch(exchange.scope["path"])
        if path is None:
            await self._handshake(exchange, sessions, parameters)
        elif "disconnect" in parameters:
            await self._disconnect(exchange, sessions, path[2])
        elif path[1] != "xhr-polling":
            raise SocketIORefused("bad_transport")
        else:
            await self._begin(exchange.scope, sessions, parameters, path[2])
            polls = exchange.method != "POST"
            session = await sessions.find(exchange, path[2], polls=polls, limit=sessions.max_payload)
            if session is None:
                return
            if session.polling is None:
                raise Refused("unknown_session")
            if polls:
                session.polled()
                await answer_poll(exchange, session, session.polling)
            else:
                await answer_post(exchange, session, session.polling, sessions.max_payload)

    async def _handshake(self, exchange: HttpExchange, sessions: V09Sessions, parameters: dict[str, str]) -> None:
        """Respond with `ID:HEARTBEAT:CLOSE:TRANSPORTS`; the times are whole seconds."""
        if exchange.scope["path"].rstrip("/") != "/socket.io/1":
            raise SocketIORefused("bad_transport")
        if "jsonp" in parameters:
            raise Refused("jsonp_unsupported")
        if exchange.method != "GET":
            raise SocketIORefused("bad_handshake")
        # The session is counted when it begins, maybe on another worker.
        admit(exchange.scope, V09_NAME).release()
        sid = sessions.add_handshake()
        timeout = max(1, round(self._settings.ping_interval + self._settings.ping_timeout))
        text = f"{sid}:{timeout}:{timeout}:websocket,xhr-polling"
        await exchange.respond(HttpBody(text.encode("ascii")), session_id=sid)

    async def _begin(self, scope: Scope, sessions: V09Sessions, parameters: dict[str, str], sid: str) -> None:
        """Begin the session with this id if this is the first request after its handshake."""
        if sessions.take_handshake(sid) and sessions.get(sid) is None:
            ticket = admit(scope, V09_NAME)
            ticket.metrics.handshakes += 1
            session = sessions.begin(self._profile(scope, parameters), ticket, sid=sid)
            await session.open()

    async def _disconnect(self, exchange: HttpExchange, sessions: V09Sessions, sid: str) -> None:
        """End a session, as a page asks that is being closed."""
        session = await sessions.find(exchange, sid, polls=False, limit=sessions.max_payload)
        if session is not None:
            session.disconnected(1000, None)
            await exchange.respond(HttpBody(b""))
