"""The requests of Socket.IO clients of versions 1 to 4: they begin sessions, poll, post, and upgrade to a WebSocket."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
from starlette.types import Receive, Scope, Send

from relay import http_request
from relay.config import Settings
from relay.gateways.base.admission import admit
from relay.gateways.base.credentials import read_token
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.http import JSON, HttpBody, HttpExchange
from relay.gateways.base.http_sessions import answer_poll, answer_post
from relay.gateways.base.websocket import accept, serve
from relay.gateways.socketio.client import SocketIOClient
from relay.gateways.socketio.declaration import CREDENTIALS, NAME, SID_HEADER, TOKENS
from relay.gateways.socketio.encoders import ModernEncoder
from relay.gateways.socketio.engine import EngineSessions, SessionProfile
from relay.gateways.socketio.errors import SocketIORefused
from relay.gateways.socketio.namespaces import ProtocolVersion
from relay.gateways.socketio.packets import FRAMINGS, TEXT_FRAMINGS, Revision, Version
from relay.gateways.socketio.payload_writer import PayloadWriter
from relay.gateways.socketio.upgrade import upgrading
from relay.model.errors import Refused

STATE: Final = "socketio"
"""The key under which `scope["state"]` has the worker's `EngineSessions` of this gateway."""

_VERSIONS: Final[Mapping[str, Version]] = {"4": 4, "3": 3, "2": 2}

_WRITERS: Final = {
    text_only: {version: PayloadWriter(framing) for version, framing in framings.items()}
    for text_only, framings in ((False, FRAMINGS), (True, TEXT_FRAMINGS))
}

_REFERENCE_ERRORS: Final[Mapping[str, tuple[int, str]]] = {
    "bad_transport": (0, "Transport unknown"),
    "unknown_session": (1, "Session ID unknown"),
    "bad_handshake": (2, "Bad handshake method"),
    "bad_version": (5, "Unsupported protocol version"),
    "bad_origin": (4, "Forbidden"),
}
"""The reference implementation's code and message for an error of the relay. All other errors are 3, Bad request."""


@dataclass(frozen=True, slots=True)
class Query:
    """An Engine.IO request; `text_only` says that the client cannot read binary frames.

    `parameters` are all of the query, of which the last one of a name counts.
    """

    version: Version
    transport: str
    sid: str
    text_only: bool
    parameters: Mapping[str, str]

    @property
    def mark(self) -> str:
        """The client's mark of the request."""
        return self.parameters.get("t", "")

    @property
    def revision(self) -> Revision:
        """The Engine.IO revision of the client."""
        return 4 if self.version == 4 else 3


class SocketIOGateway(GatewayEndpoint):
    """The ASGI application at `/socket.io/`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, NAME, session_header=SID_HEADER, credentials=CREDENTIALS)
        self._versions: Mapping[Revision, ProtocolVersion] = {
            3: ProtocolVersion(settings, "socketio3", partial(ModernEncoder, 3), ascii_names=True),
            4: ProtocolVersion(settings, "socketio4", partial(ModernEncoder, 4), offsets=settings.history_size > 0),
        }

    def refusal(self, error: Refused, *, handshake: bool) -> HttpBody:
        """Write an error as the reference implementation does."""
        return HttpBody(error_body(error), JSON, error.status)

    async def serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Begin a session, or upgrade one that polls."""
        sessions: EngineSessions = scope["state"][STATE]
        query = read_query(scope)
        if query.transport != "websocket":
            raise SocketIORefused("bad_transport")
        subprotocol = next(iter(scope["subprotocols"]), None)
        if query.sid:
            session = sessions.get(query.sid)
            if session is None or not session.accepts(http_request.counted_client(scope)):
                raise Refused("unknown_session")
            if session.upgrade is not None or session.polling is None:
                raise Refused("transport_mismatch")
            upgrade = upgrading(session)
            await accept(
                scope, receive, send, ticket=session.ticket, opening=upgrade, subprotocol=subprotocol, keepalive=False
            )
        else:
            opening = sessions.opening(self._profile(scope, query))
            await serve(scope, receive, send, protocol=NAME, opening=opening, subprotocol=subprotocol, keepalive=False)

    def _profile(self, scope: Scope, query: Query) -> SessionProfile:
        version, token = self._versions[query.revision], read_token(scope, TOKENS)
        origin = http_request.header(scope, b"origin") or ""
        return SessionProfile(
            _WRITERS[query.text_only][query.version],
            partial(SocketIOClient, version, query.revision, query.parameters, token, origin=origin),
            text_only=query.text_only,
            mark=query.mark,
        )

    # Long polling.

    async def serve_request(self, exchange: HttpExchange) -> None:
        """Begin a session that polls, or serve one of its requests."""
        sessions: EngineSessions = exchange.scope["state"][STATE]
        query = read_query(exchange.scope)
        _check_polling(query)
        if not query.sid:
            await self._begin(exchange, sessions, query)
            return
        polls = exchange.method == "GET"
        session = await sessions.find(exchange, query.sid, polls=polls, limit=sessions.max_payload)
        if session is None:
            return
        if session.polling is None:
            raise Refused("transport_mismatch")
        if polls:
            session.polled()
            await answer_poll(exchange, session, session.polling, session.mark_of_poll(query.mark))
        elif exchange.method == "POST":
            await answer_post(exchange, session, session.polling, sessions.max_payload)
        else:
            raise SocketIORefused("bad_handshake")

    async def _begin(self, exchange: HttpExchange, sessions: EngineSessions, query: Query) -> None:
        if exchange.method != "GET":
            raise SocketIORefused("bad_handshake")
        session = sessions.begin(self._profile(exchange.scope, query), admit(exchange.scope, NAME))
        session.metrics.handshakes += 1
        await session.open()
        if session.polling is not None:
            # The handshake is the first poll, and the open packet answers it.
            await answer_poll(exchange, session, session.polling)


def _check_polling(query: Query) -> None:
    if query.transport == "websocket":
        raise Refused("transport_mismatch", "transport=websocket begins with the handshake of a WebSocket")
    if query.transport != "polling":
        raise SocketIORefused("bad_transport")


def read_query(scope: Scope) -> Query:
    """Read the parameters of an Engine.IO request; raises `Refused`."""
    parameters = dict(http_request.read_query(scope))
    version = _VERSIONS.get(parameters.get("EIO", ""))
    if version is None:
        raise SocketIORefused("bad_version")
    if "j" in parameters:
        raise Refused("jsonp_unsupported")
    return Query(
        version=version,
        transport=parameters.get("transport", ""),
        sid=parameters.get("sid", ""),
        text_only=bool(parameters.get("b64")),
        parameters=parameters,
    )


def error_body(error: Refused) -> bytes:
    """Write an error for an Engine.IO client: byte for byte as the reference implementation does.

    Its "Bad request" has no details; there the relay adds its own code and text.
    """
    if error.code == "too_large":
        return b""
    if error.code in _REFERENCE_ERRORS:
        code, message = _REFERENCE_ERRORS[error.code]
        return msgspec.json.encode({"code": code, "message": message})
    details = {"code": error.code, "text": error.text}
    return msgspec.json.encode({"code": 3, "message": "Bad request", "error": details})
