"""The requests of hub connections: WebSockets, event streams, polls, posts and goodbyes."""

from collections.abc import Coroutine
from functools import partial
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from relay.config import Settings
from relay.gateways.base.admission import admit
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.http import EVENT_STREAM, HttpBody, HttpExchange
from relay.gateways.base.http_sessions import answer_post
from relay.gateways.base.leaving import leave
from relay.gateways.base.polling_rules import PollingRules
from relay.gateways.base.websocket import accept, arrival
from relay.gateways.signalr.client import HubClient
from relay.gateways.signalr.codec import codecs_of
from relay.gateways.signalr.connection_token import BadToken, ConnectionToken
from relay.gateways.signalr.declaration import CREDENTIALS, NAME
from relay.gateways.signalr.errors import SignalRRefused
from relay.gateways.signalr.places import proof_of
from relay.gateways.signalr.polled import POLLS, STREAM, LostHub, PolledHub
from relay.gateways.signalr.query import HubQuery
from relay.gateways.signalr.session import SocketHub
from relay.gateways.signalr.settings import SignalRSettings
from relay.gateways.signalr.state import SignalRState, state_of
from relay.http_request import counted_client, header
from relay.model.commands import Tracking
from relay.model.errors import Refused
from relay.rooms.admissions import Ticket
from relay.rooms.connection import Connection, Receiver
from relay.rooms.worker import Worker

_MAX_GOODBYE: Final = 4096
"""Bytes of a post that may be the goodbye of a client that was lost."""

_NOT_FOUND: Final = 404
"""The status for a connection that the relay does not have: clients negotiate another one."""


class SignalRGateway(GatewayEndpoint):
    """The ASGI application at `/signalr`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, NAME, methods=("GET", "POST", "DELETE"), credentials=CREDENTIALS)
        self._default_room = settings.default_room
        self._codecs = codecs_of(settings.of(SignalRSettings))
        self._limit = settings.max_request

    def refusal(self, error: Refused, *, handshake: bool) -> HttpBody:
        """Write an error; a connection that is not there is not found."""
        body = super().refusal(error, handshake=handshake)
        return body._replace(status=_NOT_FOUND) if error.code == "unknown_session" else body

    # The WebSocket.

    async def serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket: of a connection that was negotiated, or of one without that."""
        state, query = state_of(scope), HubQuery(scope, self._default_room)
        # A client that is not admitted does not use its token up, nor try tokens.
        with admit(scope, NAME) as ticket:
            session, peer = self._opened(state, query)
            client = self._client(scope, query, peer, Tracking.WRITTEN)
            opening = partial(_open, state, client, session, ticket=ticket)
            await accept(scope, receive, send, ticket=ticket, opening=opening, subprotocol=None)

    @staticmethod
    def _opened(state: SignalRState, query: HubQuery) -> tuple[str, str]:
        """Return the session id of a WebSocket, and the peer id that was negotiated; raises `Refused`."""
        if query.id is None:
            return state.worker.session_ids.issue(), query.place.place.peer
        token = _token(state, query)
        if state.has(token.session):
            raise SignalRRefused("connection_in_use")
        if not (token.is_fresh and state.use(token.session)):
            raise Refused("unknown_session")
        return token.session, token.peer

    def _client(self, scope: Scope, query: HubQuery, peer: str, tracking: Tracking) -> HubClient:
        worker: Worker = scope["state"]["worker"]
        proof = proof_of(scope, worker, named=bool(query.place.place.peer))
        # The request is read now: an error is the answer, and the scope is not kept.
        return HubClient(self._codecs, proof, query.join_request(peer, tracking))

    # HTTP.

    async def serve_request(self, exchange: HttpExchange) -> None:
        """Serve a request of a connection."""
        scope = exchange.scope
        state, query = state_of(scope), HubQuery(scope, self._default_room)
        if query.id is None:
            raise Refused("bad_query", "id is the connectionToken of a negotiation")
        token = _token(state, query)
        match exchange.method:
            case "GET":
                await self._receive(exchange, state, query, token)
            case "POST":
                await self._post(exchange, state, token)
            case "DELETE":
                await self._delete(exchange, state, token)
            case _:
                raise Refused("bad_method")

    async def _post(self, exchange: HttpExchange, state: SignalRState, token: ConnectionToken) -> None:
        lost = state.lost.get(token.session)
        if lost is not None:
            body = await exchange.read_body(self._limit)
            if body is None:
                return
            if len(body) <= _MAX_GOODBYE and lost.said_goodbye(body):
                await _end_lost(exchange, state, token, lost)
                await exchange.respond(HttpBody(b""))
                return
        session = await state.polled.find(exchange, token.session, polls=False, limit=self._limit)
        if session is not None:
            await answer_post(exchange, session, session.polling, self._limit)

    @staticmethod
    async def _delete(exchange: HttpExchange, state: SignalRState, token: ConnectionToken) -> None:
        lost = state.lost.get(token.session)
        if lost is not None:
            await _end_lost(exchange, state, token, lost)
        else:
            session = await state.polled.find(exchange, token.session, polls=False, limit=0)
            if session is None:
                return
            session.leave()
        await exchange.respond(HttpBody(b"", status=202))

    async def _receive(
        self, exchange: HttpExchange, state: SignalRState, query: HubQuery, token: ConnectionToken
    ) -> None:
        """Open a stream, or serve a poll; the first one begins the session, on the worker that its token names."""
        streams = EVENT_STREAM.decode() in (header(exchange.scope, b"accept") or "")
        session = state.polled.get(token.session)
        if session is None and token.is_fresh and self._is_owner(state, token) and not state.is_used(token.session):
            begun = self._begin(exchange, state, query, token, STREAM if streams else POLLS)
            # The client waits for the answer to its first poll, and for the head of its stream.
            await (begun.stream(exchange) if streams else exchange.respond(HttpBody(b"")))
            return
        if session is not None and not session.polling.idle:
            # The older poll is answered at once: without a bound, as fast as a worker makes answers.
            await state.worker.requests.admit(counted_client(exchange.scope))
        # After the wait: the session may have ended meanwhile, because the client has dropped the older poll.
        session = await state.polled.find(exchange, token.session, polls=True, limit=0)
        if isinstance(session, PolledHub):
            await (session.stream(exchange) if streams else session.poll(exchange, query.mark))

    @staticmethod
    def _is_owner(state: SignalRState, token: ConnectionToken) -> bool:
        worker = state.worker
        return worker.session_ids.owner(token.session) == worker.local.owner

    def _begin(
        self, exchange: HttpExchange, state: SignalRState, query: HubQuery, token: ConnectionToken, rules: PollingRules
    ) -> PolledHub:
        client = self._client(exchange.scope, query, token.peer, Tracking.ACKNOWLEDGED)
        with admit(exchange.scope, NAME) as ticket:
            state.use(token.session)
            session = PolledHub(state.polled, ticket, client, rules=rules, session_id=token.session, lost=state.lost)
        ticket.metrics.handshakes += 1
        return session


def _token(state: SignalRState, query: HubQuery) -> ConnectionToken:
    """Return the connection token of a request; raises `Refused` (`unknown_session`)."""
    try:
        return state.tokens.read(query.id or "", state.worker.fleet_time())
    except BadToken:
        raise Refused("unknown_session") from None


def _open(
    state: SignalRState, client: HubClient, session: str, connection: Connection, *, ticket: Ticket
) -> tuple[Receiver, Coroutine[Any, Any, None]]:
    hub = SocketHub(connection, state.worker, ticket, client, session, state.remove)
    state.add(hub)
    return hub, _nothing()


async def _end_lost(exchange: HttpExchange, state: SignalRState, token: ConnectionToken, lost: LostHub) -> None:
    """End the membership of a client that was lost, and has said goodbye since; not if it has come back meanwhile."""
    scope, worker = exchange.scope, state.worker
    address = counted_client(scope)
    await worker.requests.admit(address)
    try:
        await leave(worker, lost.place, address, arrived=arrival(scope))
    except Refused as error:
        if error.code not in {"superseded", "peer_taken"}:
            raise
    # Not ahead of the end: a client whose goodbye fails says it once more, by another request.
    state.lost.forget(token.session)


async def _nothing() -> None:
    """Wait for the client, which sends the first message."""
