"""`/websync.ashx` and `/rooms/NAME/websync.ashx`: all requests of WebSync clients."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec
from starlette.types import Receive, Scope, Send

from relay.config import Settings
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.http import HttpBody, HttpExchange
from relay.gateways.base.http_place import HttpPlace, PlaceQuery, forward_to_owner
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.passing import passes
from relay.gateways.base.poster import Poster
from relay.gateways.websync import channels
from relay.gateways.websync.client_ids import peer_id, resume_key
from relay.gateways.websync.codec import WebSyncCodec
from relay.gateways.websync.declaration import CREDENTIALS, NAME, TOKENS
from relay.gateways.websync.dispatch import OF_SESSIONS, Dispatch
from relay.gateways.websync.entrance import Entrance
from relay.gateways.websync.errors import WebSyncRefused, error_text
from relay.gateways.websync.exchange import WebSyncExchange
from relay.gateways.websync.messages import BadMessage, ClientMessage, read_messages
from relay.gateways.websync.replies import HANDSHAKE_AGAIN, Reply, body_of, failure, handshake
from relay.gateways.websync.session import WebSyncSession
from relay.gateways.websync.settings import WebSyncSettings
from relay.gateways.websync.state import state_of
from relay.http_request import counted_client
from relay.model.codec import Frame
from relay.model.errors import Refused
from relay.rooms.large_messages import LARGE
from relay.rooms.worker import Worker

_ROOM: Final = 65_536
"""Bytes of a request beside its largest message."""

Messages = Sequence[ClientMessage | BadMessage]


class WebSyncEndpoint(GatewayEndpoint):
    """The ASGI application of all requests.

    Clients take no notice of the status of a response. They read the reply to each message, with its id.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, NAME, credentials=CREDENTIALS)
        own = settings.of(WebSyncSettings)
        self._shared = own.websync_channel
        self._timeout = own.websync_timeout
        self._default_room = settings.default_room
        # JSON in JSON: each quote and backslash of an envelope takes up to three bytes more.
        self._limit = 2 * settings.max_message + _ROOM
        codec = WebSyncCodec(self._shared)
        self._codecs: CodecPair[Frame] = CodecPair(codec, codec)

    def exchange(self, scope: Scope, receive: Receive, send: Send) -> HttpExchange:
        """Make the exchange of a request."""
        return WebSyncExchange(scope, receive, send, self.responses)

    async def serve_request(self, exchange: HttpExchange) -> None:
        """Carry out the messages of a request."""
        assert isinstance(exchange, WebSyncExchange)  # noqa: S101 - `exchange` makes no other one
        body = await exchange.read(self._limit)
        if body is None:
            return
        worker: Worker = exchange.scope["state"]["worker"]
        metrics = worker.metrics.of(NAME)
        metrics.bytes_in += len(body)
        messages = await _read(worker, counted_client(exchange.scope), body)
        metrics.messages_in += len(messages)
        try:
            await self._serve(exchange, messages)
        except Refused as error:
            refused = await self._counted(exchange.scope, error)
            await exchange.respond(body_of([_refusal(message, refused) for message in messages], refused.status))

    def refusal(self, error: Refused, *, handshake: bool) -> HttpBody:
        """Write an error about a request whose messages cannot be read."""
        text = error_text(error, "")
        return body_of([{"successful": False, "error": text}], error.status)

    async def _serve(self, exchange: HttpExchange, messages: Messages) -> None:
        """Serve a request; raises `Refused` for all of its messages."""
        scope = exchange.scope
        query = PlaceQuery(scope, TOKENS, "" if "room" in scope["path_params"] else self._default_room)
        only = messages[0] if len(messages) == 1 else None
        if isinstance(only, ClientMessage) and only.channel == channels.HANDSHAKE:
            client, session = await self._entrance(scope, query).enter(only)
            await exchange.respond(body_of([handshake(only, client, session, self._timeout)]))
            return
        client, place = _place(query.place.room, messages)
        here = state_of(scope).sessions.get(place.name)
        if here is None and _needs_session(messages, query, scope["state"]["worker"]):
            if isinstance(only, ClientMessage) and only.channel == channels.CONNECT:
                sessions, token = state_of(scope).sessions, _token(only)
                if await sessions.answer_without_session(exchange, place, token=token, limit=self._limit):
                    return
            elif await forward_to_owner(exchange, place, limit=self._limit):
                return
        found = here if isinstance(here, WebSyncSession) else None
        if isinstance(only, ClientMessage) and only.channel == channels.CONNECT:
            await self._connect(exchange, only, found)
        else:
            await self._dispatch(exchange, query, messages, client, place, found)

    def _entrance(self, scope: Scope, query: PlaceQuery) -> Entrance:
        return Entrance(scope, query, self._codecs, self._shared)

    async def _connect(self, exchange: HttpExchange, message: ClientMessage, session: WebSyncSession | None) -> None:
        worker: Worker = exchange.scope["state"]["worker"]
        address, token = counted_client(exchange.scope), _token(message)
        if session is None:
            raise Refused("unknown_session")
        if session.answers_at_once(token, acknowledges=message.acknowledges):
            # Without a bound, one client could ask for answers as fast as a worker makes them.
            await worker.requests.admit(address)
        await session.connect(exchange, token, acknowledges=message.acknowledges, hold=self._timeout)

    async def _dispatch(
        self,
        exchange: HttpExchange,
        query: PlaceQuery,
        messages: Messages,
        client: str,
        place: HttpPlace,
        session: WebSyncSession | None,
    ) -> None:
        worker: Worker = exchange.scope["state"]["worker"]
        address, rates = counted_client(exchange.scope), state_of(exchange.scope).rates
        if session is None or session.guard is None:
            poster = await Poster.of(worker, place, query.token, address, rates)
        else:
            poster = Poster.of_guard(worker, place, session.guard, address, rates)
        leave = partial(self._entrance(exchange.scope, query).leave, place)
        dispatch = Dispatch(worker, address, place, client, session, poster, leave, self._shared)
        replies = await dispatch.run(messages)
        if dispatch.failed:
            await worker.requests.admit(address)
        await exchange.respond(body_of(replies))


async def _read(worker: Worker, address: str, body: bytes) -> Messages:
    """Read the messages of a request; large ones are read in their turn. Raises `Refused`."""
    found: list[Messages] = []
    if len(body) < LARGE:
        found.append(read_messages(body))
    else:
        await worker.large_messages.turn(address, lambda: found.append(read_messages(body)))
    if not found[0]:
        raise WebSyncRefused("no_messages")
    return found[0]


def _needs_session(messages: Messages, query: PlaceQuery, worker: Worker) -> bool:
    """Return whether only the worker with the client's session can serve a request: it may know the client's token."""
    if not (query.token or worker.authority.is_off):
        return True
    named = [one.channel for one in messages if isinstance(one, ClientMessage)]
    return any(one in OF_SESSIONS or one == channels.CONNECT or one.startswith(channels.SERVICE) for one in named)


def _place(room: str, messages: Messages) -> tuple[str, HttpPlace]:
    """Return the client that sends these messages, and its place; raises `Refused`."""
    refused: Refused | None = None
    for one in messages:
        if isinstance(one, ClientMessage) and one.client_id and one.session_id:
            try:
                return one.client_id, HttpPlace(room, peer_id(one.client_id), resume_key(one.session_id))
            except Refused as error:
                # Another message of the request may name the client well.
                refused = refused or error
    if refused is not None:
        raise refused
    return "", HttpPlace(room, "", "")


def _token(message: ClientMessage) -> str:
    """Return the id of a connect as JSON, by which a repeated one is recognized; raises `Refused`."""
    if not message.client_id:
        raise WebSyncRefused("no_client_id")
    if not message.session_id:
        raise WebSyncRefused("no_session_id")
    if message.id is None:
        raise Refused("bad_command", "a connect has an id, which its answer repeats")
    return msgspec.json.encode(message.id).decode()


def _refusal(message: ClientMessage | BadMessage, error: Refused) -> Reply:
    if message.channel == channels.HANDSHAKE:
        return failure(message, error, final=not passes(error))
    return failure(message, error, advice=HANDSHAKE_AGAIN if error.code == "unknown_session" else None)
