"""`/http-bind`: the requests of clients over BOSH."""

from typing import Final

from starlette.types import Scope

from relay.config import Settings
from relay.gateways.base.admission import admit
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.http import HttpBody, HttpExchange
from relay.gateways.base.http_sessions import HttpSessions
from relay.gateways.base.join_request import CodecPair
from relay.gateways.xmpp.bosh.body import RequestBody, read_request, terminated
from relay.gateways.xmpp.bosh.session import BoshSession
from relay.gateways.xmpp.codec import XmppCodec
from relay.gateways.xmpp.declaration import NAME
from relay.http_request import counted_client
from relay.ids import fingerprint
from relay.model.errors import Refused
from relay.rooms.large_messages import LARGE
from relay.rooms.worker import Worker

STATE: Final = "bosh"
"""The key under which `scope["state"]` has the sessions of the worker."""


_CONDITIONS: Final = {
    "unknown_session": "item-not-found",
    "bad_xml": "bad-request",
    "bad_bosh": "bad-request",
    "bad_method": "bad-request",
    "too_large": "policy-violation",
    "too_many_requests": "policy-violation",
    "too_many_handshakes": "policy-violation",
    "too_many_connections": "policy-violation",
    "bad_origin": "policy-violation",
    "worker_full": "internal-server-error",
    "unavailable": "internal-server-error",
}
"""Error code → condition of the end of a session (XEP-0124, section 17.2)."""


class BoshGateway(GatewayEndpoint):
    """The ASGI application of all requests, each of which is a post."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, NAME, methods=("POST",))
        codec = XmppCodec("")
        self._codecs = CodecPair(codec, codec)
        self._limit = settings.max_request

    def refusal(self, error: Refused, *, handshake: bool) -> HttpBody:
        """Write an error as the end of a session; if there is none, that is no failure of HTTP."""
        condition = _CONDITIONS.get(error.code, "undefined-condition")
        return terminated(condition, error.code, error.text, 200 if error.code == "unknown_session" else error.status)

    async def serve_request(self, exchange: HttpExchange) -> None:
        """Serve a request: the first one of a session, or one of a session that is here or on another worker."""
        if exchange.method != "POST":
            raise Refused("bad_method")
        data = await exchange.read_body(self._limit)
        if data is None:
            return
        request = await _read(exchange.scope, data)
        if not request.sid:
            await self._begin(exchange, request)
            return
        sessions = _sessions(exchange.scope)
        session = sessions.get(fingerprint(request.sid))
        if session is not None:
            await session.serve(exchange, request)
        elif last := sessions.take_last_answer(fingerprint(request.sid), str(request.rid)):
            await exchange.respond(last)
        elif not await exchange.forward(request.sid, limit=self._limit):
            raise Refused("unknown_session")

    async def _begin(self, exchange: HttpExchange, request: RequestBody) -> None:
        sessions = _sessions(exchange.scope)
        with admit(exchange.scope, NAME) as ticket:
            session = BoshSession(sessions, self._codecs, ticket, request, sessions.new_id())
        ticket.metrics.handshakes += 1
        await session.begin(exchange, request)


def _sessions(scope: Scope) -> HttpSessions[BoshSession]:
    sessions: HttpSessions[BoshSession] = scope["state"][STATE]
    return sessions


async def _read(scope: Scope, data: bytes) -> RequestBody:
    """Read a request; a large one in its turn. Raises `XmppRefused`."""
    worker: Worker = scope["state"]["worker"]
    if len(data) < LARGE:
        return read_request(data)
    found: list[RequestBody] = []
    await worker.large_messages.turn(counted_client(scope), lambda: found.append(read_request(data)))
    return found[0]
