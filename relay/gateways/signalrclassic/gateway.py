"""The requests of SignalR 2.x clients: `negotiate`, the three transports, calls and goodbyes."""

import uuid
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
from starlette.types import Receive, Scope, Send

from relay.config import Settings
from relay.gateways.base.admission import admit
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.http import JSON, Headers, HttpBody, HttpExchange
from relay.gateways.base.http_place import HttpPlace, forward_to_owner
from relay.gateways.base.http_sessions import HttpSession, answer_stream
from relay.gateways.base.join_request import CodecPair, JoinRequest
from relay.gateways.base.jsonp import SCRIPT, check_callback, for_script
from relay.gateways.base.leaving import leave
from relay.gateways.base.polling_rules import PollingRules
from relay.gateways.base.poster import Poster
from relay.gateways.base.websocket import arrival, serve
from relay.gateways.signalrclassic import polls
from relay.gateways.signalrclassic.answers import AGAIN, FIRST, GREETING
from relay.gateways.signalrclassic.codec import HubCodec
from relay.gateways.signalrclassic.declaration import CREDENTIALS, NEGOTIATE, PROTOCOL, SCRIPTS
from relay.gateways.signalrclassic.errors import ClassicRefused
from relay.gateways.signalrclassic.hubs import ClassicHub, ClassicHubs
from relay.gateways.signalrclassic.invocations import failed, read_invocation, result
from relay.gateways.signalrclassic.negotiation import negotiated
from relay.gateways.signalrclassic.request import ClassicRequest, read_form
from relay.gateways.signalrclassic.script import ProxyScript
from relay.gateways.signalrclassic.settings import ClassicSettings
from relay.gateways.signalrclassic.sockets import KEEPALIVE_SECONDS, ClassicConnection, SocketSession
from relay.gateways.signalrclassic.state import state_of
from relay.http_request import counted_client
from relay.model.codec import Frame
from relay.model.errors import BadFrame, Refused
from relay.model.names import unescape
from relay.paths import raw_path
from relay.rooms.admissions import Ticket
from relay.rooms.connection import Connection, Receiver
from relay.rooms.large_messages import LARGE
from relay.rooms.worker import Worker

Result = TypeVar("Result")

_JAVASCRIPT: Final = b"application/javascript"
_STREAM_RULES: Final = PollingRules(lost_after=30, lost_with_request=True)
_MAX_CODECS: Final = 64
"""Sets of hubs whose codecs are kept; clients may name any set."""

_FORM_EXCESS: Final = 8192


class ClassicExchange(HttpExchange):
    """One request and its response, which is a script if the request names a `callback` (JSONP)."""

    __slots__ = ("callback",)

    callback: str

    async def respond(self, body: HttpBody, *, session_id: str = "", headers: Headers = ()) -> None:
        """Send the response."""
        if self.callback and body.media_type == JSON and body.status == 200:
            body = HttpBody(b"%b(%b);" % (self.callback.encode("ascii"), for_script(body.data)), SCRIPT)
        await super().respond(body, session_id=session_id, headers=headers)


class ClassicGateway(GatewayEndpoint):
    """The ASGI application of all paths of the gateway."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, PROTOCOL, credentials=CREDENTIALS)
        self._settings = settings
        self._hubs = ClassicHubs(settings.of(ClassicSettings).signalr_classic_hubs)
        self._script = ProxyScript(self._hubs)
        self._codecs: dict[tuple[str, ...], CodecPair[Frame]] = {}

    def exchange(self, scope: Scope, receive: Receive, send: Send) -> HttpExchange:
        """Make the exchange of a request."""
        exchange = ClassicExchange(scope, receive, send, self.responses)
        exchange.callback = ""
        return exchange

    async def serve_request(self, exchange: HttpExchange) -> None:
        """Serve one request by the last segment of its path."""
        scope = exchange.scope
        if exchange.method not in {"GET", "POST"}:
            raise Refused("bad_method")
        path = raw_path(scope).rstrip("/")
        action = path[path.rindex("/") :]
        request = ClassicRequest(scope, self._settings.default_room)
        if isinstance(exchange, ClassicExchange) and "callback" in request.query:
            exchange.callback = check_callback(scope, request.query["callback"])
        match action:
            case "/connect" | "/reconnect" | "/poll":
                await self._listen(exchange, request, action)
            case "/send":
                await self._send(exchange, request)
            case "/abort":
                await self._abort(exchange, request)
            case _:
                await request.worker.requests.admit(counted_client(scope))
                await exchange.respond(await self._short_answer(scope, request, path, action))

    async def _short_answer(self, scope: Scope, request: ClassicRequest, path: str, action: str) -> HttpBody:
        """Return the answer to a request that joins nothing and sends nothing."""
        if action in SCRIPTS:
            # Not the path below which the script of the original has its requests as well.
            return HttpBody(self._script.below(scope.get("root_path", "") + path.removesuffix(action)), _JAVASCRIPT)
        if action == NEGOTIATE:
            if scope["method"] != "GET":
                raise Refused("bad_method")
            return await self._negotiate(scope, request, path)
        if action == "/start":
            request.place()
            return HttpBody(b'{"Response":"started"}', JSON)
        return HttpBody(b'{"Response":"pong"}', JSON)

    async def _negotiate(self, scope: Scope, request: ClassicRequest, path: str) -> HttpBody:
        """Make a place, which is taken by `/connect`."""
        worker, room = request.worker, request.room
        worker.check_unreserved(room)
        request.hubs(self._hubs)
        grants = await worker.identify(request.token, counted_client(scope))
        asked = request.peer
        peer = asked or new_peer() if grants is None else grants.peer(asked, new_peer)
        fields = negotiated(
            self._settings,
            path=scope.get("root_path", "") + path.removesuffix(NEGOTIATE),
            version=request.version,
            peer=unescape(peer),
            connection_token=request.tokens.issue(room, peer),
        )
        return HttpBody(msgspec.json.encode(fields), JSON)

    # Transports.

    async def serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket; one without a valid token is refused, so that its client tries no longer than it may."""
        request = ClassicRequest(scope, self._settings.default_room)
        first = raw_path(scope).rstrip("/").endswith("/connect")
        place, codecs = request.place(), self._codecs_of(request.hubs(self._hubs))
        await state_of(scope).left.check(place)
        join = request.join_request(place, None if first else request.since())
        opening = partial(self._open, scope, codecs, join, first)
        subprotocol = next(iter(scope["subprotocols"]), None)
        await serve(scope, receive, send, protocol=PROTOCOL, opening=opening, subprotocol=subprotocol)

    @staticmethod
    def _open(
        scope: Scope, codecs: CodecPair[Frame], join: JoinRequest, first: bool, connection: Connection, ticket: Ticket
    ) -> tuple[Receiver, Coroutine[Any, Any, None]]:
        over, state = ClassicConnection(connection, first=first), state_of(scope)
        session = SocketSession(over, scope["state"]["worker"], codecs, ticket, state.keepalive)
        return session, state.left.enter(session, join)

    async def _listen(self, exchange: HttpExchange, request: ClassicRequest, action: str) -> None:
        """Serve the request of a client that listens over HTTP."""
        transport = request.query.get("transport", "")
        place, codecs = request.place(), self._codecs_of(request.hubs(self._hubs))
        state_of(exchange.scope).left.check_here(place)
        if transport == "longPolling":
            await self._poll(exchange, request, place, codecs, action)
        elif transport == "serverSentEvents" and action != "/poll":
            await self._stream(exchange, request, place, codecs, first=action == "/connect")
        else:
            raise ClassicRefused("unknown_transport")

    @staticmethod
    async def _stream(
        exchange: HttpExchange, request: ClassicRequest, place: HttpPlace, codecs: CodecPair[Frame], *, first: bool
    ) -> None:
        state = state_of(exchange.scope)
        await state.left.check(place)
        join, dialect = request.join_request(place, None if first else request.since()), FIRST if first else AGAIN
        with admit(exchange.scope, PROTOCOL) as ticket:
            session = HttpSession(state.streams, codecs, ticket, dialect=dialect, rules=_STREAM_RULES)
        ticket.metrics.handshakes += 1
        request.worker.spawn(state.left.enter(session, join))
        await answer_stream(
            exchange,
            session,
            session.polling,
            dialect.events,
            greeting=GREETING,
            keepalive=KEEPALIVE_SECONDS,
            reached=session.reached,
        )

    @staticmethod
    async def _poll(
        exchange: HttpExchange, request: ClassicRequest, place: HttpPlace, codecs: CodecPair[Frame], action: str
    ) -> None:
        body = await exchange.read_body(polls.MAX_BODY)
        if body is None:
            return
        sessions, first = state_of(exchange.scope).polls, action == "/connect"
        since = None if first else request.since(read_form(body))
        hold = polls.HOLD if action == "/poll" else 0.0
        if first:
            answered = await forward_to_owner(exchange, place, limit=polls.MAX_BODY)
        else:
            answered = await sessions.go_on(exchange, place, since, hold)
        if not answered:
            await state_of(exchange.scope).left.check(place)
            join, dialect = request.join_request(place, since), FIRST if first else AGAIN
            await sessions.begin(exchange, codecs, dialect, join, hold)

    def _codecs_of(self, own: tuple[ClassicHub, ...]) -> CodecPair[Frame]:
        names = tuple(hub.name for hub in own)
        codecs = self._codecs.get(names)
        if codecs is None:
            codec = HubCodec(self._hubs, own)
            codecs = CodecPair(codec, codec)
            if len(self._codecs) < _MAX_CODECS:
                self._codecs[names] = codecs
        return codecs

    # Calls, and the goodbye.

    async def _send(self, exchange: HttpExchange, request: ClassicRequest) -> None:
        """Execute a call that was posted, or is in the address; the response has its result."""
        place, address = request.place(), counted_client(exchange.scope)
        text = request.query.get("data", "")
        if exchange.method == "POST":
            body = await exchange.read_body(4 * self._settings.max_message + _FORM_EXCESS)
            if body is None:
                return
            text = (await _in_turn(request.worker, address, body, read_form)).get("data", text)
        data = text.encode("utf-8", "replace")
        metrics = request.worker.metrics.of(PROTOCOL)
        metrics.messages_in += 1
        metrics.bytes_in += len(data)
        poster = await Poster.of(request.worker, place, request.token, address, state_of(exchange.scope).rates)
        await exchange.respond(HttpBody(await self._call(request.worker, address, data, poster), JSON))

    async def _call(self, worker: Worker, address: str, data: bytes, poster: Poster) -> bytes:
        """Publish a call, and return its result.

        Raises `Refused` for one that has no number to answer to, or whose address has had too many refused.
        """
        key = ""
        try:
            command = await _in_turn(worker, address, data, partial(read_invocation, hubs=self._hubs))
            key = command.key
            most = self._settings.max_message
            if len(data) > most:
                raise Refused("too_large", f"{len(data)} bytes; at most {most} are relayed")
            await poster.publish(command.envelope)
        except Refused as error:
            key = error.key if isinstance(error, BadFrame) and not key else key
            if not key:
                raise
            # The answer has the status 200, which the endpoint does not count as refused.
            await worker.requests.admit(address)
            worker.metrics.of(PROTOCOL).refused(error.code)
            return failed(key, error)
        return result(key)

    @staticmethod
    async def _abort(exchange: HttpExchange, request: ClassicRequest) -> None:
        """End the membership of a client that says goodbye, and any later one of the same place.

        A request that the client sent before, or has sent and given up, may arrive after its goodbye.
        """
        place, address = request.place(), counted_client(exchange.scope)
        await request.worker.requests.admit(address)
        state = state_of(exchange.scope)
        await state.left.note(place)
        session = state.polls.get(place.name)
        forwarded = session is None and await forward_to_owner(exchange, place, limit=polls.MAX_BODY)
        if session is not None:
            session.leave()
        elif not forwarded:
            await leave(request.worker, place, address, arrived=arrival(exchange.scope))
        if not forwarded:
            await exchange.respond(HttpBody(b""))


def new_peer() -> str:
    """Return the peer id of a client whose token names none: a UUID, as connections of the original have."""
    return str(uuid.uuid4())


async def _in_turn(worker: Worker, address: str, data: bytes, read: Callable[[bytes], Result]) -> Result:
    """Return the result of `read` for data; large data is read in its turn."""
    if len(data) < LARGE:
        return read(data)
    found: list[Result] = []
    await worker.large_messages.turn(address, lambda: found.append(read(data)))
    return found[0]
