"""`/rooms/NAME/messages`: long polling by GET, publishing by POST, leaving by DELETE; `POST /rooms/NAME/leave`."""

import asyncio
from dataclasses import replace

from relay.config import Settings
from relay.gateways.base.admission import admit
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.http import HttpBody, HttpExchange
from relay.gateways.base.http_place import HttpPlace, PlaceQuery, any_peer, forward_to_owner, with_key
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.leaving import leave
from relay.gateways.plainhttp.codec import PollCodec
from relay.gateways.plainhttp.declaration import CREDENTIALS, NAME, TOKENS
from relay.gateways.plainhttp.polls import PollDialect, PollSession
from relay.gateways.plainhttp.posts import answer_post
from relay.gateways.plainhttp.state import state_of
from relay.http_request import counted_client
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.errors import Refused
from relay.rooms.worker import Worker


class MessagesEndpoint(GatewayEndpoint):
    """The ASGI application of polls and posts."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, NAME, methods=("GET", "POST", "DELETE"), credentials=CREDENTIALS)
        codec = PollCodec(lossy=not settings.history_size)
        self._codecs: CodecPair[Frame] = CodecPair(codec, codec)
        self._dialect = PollDialect()

    async def serve_request(self, exchange: HttpExchange) -> None:
        """Serve a poll, a post or a goodbye."""
        match exchange.method:
            case "GET":
                await self._poll(exchange, PlaceQuery(exchange.scope, TOKENS))
            case "POST":
                await answer_post(exchange, PlaceQuery(exchange.scope, TOKENS), NAME)
            case "DELETE":
                await _say_goodbye(exchange, PlaceQuery(exchange.scope, TOKENS))
            case _:
                raise Refused("bad_method")

    async def _poll(self, exchange: HttpExchange, query: PlaceQuery) -> None:
        if not query.names_peer:
            # A crawler that follows links must not enter rooms.
            raise Refused("bad_query", "the address needs peer; an empty one stands for any")
        since, wait = query.since(), query.wait()
        session = None
        if query.place.resume:
            session, answered = await self._find(exchange, query.place, since)
            if answered:
                return
            if session is not None and session.answers_at_once(since, wait):
                worker: Worker = exchange.scope["state"]["worker"]
                await worker.requests.admit(counted_client(exchange.scope))
        session = session or await self._begin(exchange, query, since)
        if session is not None:
            await session.poll(exchange, since, wait)

    async def _find(
        self, exchange: HttpExchange, place: HttpPlace, since: MessageId | None
    ) -> tuple[PollSession | None, bool]:
        """Return the session of a place, if it is here, and whether the poll was answered."""
        polls = state_of(exchange.scope).polls
        session = polls.get(place.name)
        if isinstance(session, PollSession):
            if session.goes_on(since):
                return session, False
            session.lost()
            return None, False
        last = polls.take_last_answer(place.name, "" if since is None else str(since))
        if last is not None:
            await exchange.respond(last)
            return None, True
        return None, await forward_to_owner(exchange, place, limit=0)

    async def _begin(self, exchange: HttpExchange, query: PlaceQuery, since: MessageId | None) -> PollSession | None:
        """Return a session that has joined, or was refused; None if the client drops the poll before that."""
        worker: Worker = exchange.scope["state"]["worker"]
        request = with_key(query.join_request(since), worker.session_ids.issue())
        if not request.peer:
            # The session goes by the name of its place.
            request = replace(request, peer=await any_peer(worker, request.token, counted_client(exchange.scope)))
        place = HttpPlace(request.room, request.peer, request.resume)
        polls = state_of(exchange.scope).polls
        with admit(exchange.scope, NAME) as ticket:
            # A place has one session. The one that is here did not answer to the place of the query: the token names
            # the peer, or another poll of the place has begun the session in the meantime.
            earlier = polls.get(place.name)
            if earlier is not None:
                earlier.lost()
            session = PollSession(polls, self._codecs, ticket, self._dialect, place.name)
        ticket.metrics.handshakes += 1
        dropped = asyncio.create_task(_end_when_dropped(exchange, session))
        await session.enter(lambda: request)
        if dropped.done():
            return None
        dropped.cancel()
        return session


async def _end_when_dropped(exchange: HttpExchange, session: PollSession) -> None:
    """End a session whose client gives up: an attempt that is lost takes no place from a newer one."""
    await exchange.until_dropped()
    session.lost()


class LeaveEndpoint(GatewayEndpoint):
    """The ASGI application of goodbyes: `navigator.sendBeacon` only posts."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, NAME, methods=("POST",), credentials=CREDENTIALS)

    async def serve_request(self, exchange: HttpExchange) -> None:
        """End the membership of a place."""
        if exchange.method != "POST":
            raise Refused("bad_method")
        await _say_goodbye(exchange, PlaceQuery(exchange.scope, TOKENS))


async def _say_goodbye(exchange: HttpExchange, query: PlaceQuery) -> None:
    place = query.proven_place()
    worker: Worker = exchange.scope["state"]["worker"]
    address = counted_client(exchange.scope)
    await worker.requests.admit(address)
    session = state_of(exchange.scope).polls.get(place.name)
    if session is not None:
        session.leave()
    else:
        await leave(worker, place, address, arrived=query.arrived)
    await exchange.respond(HttpBody(b"", status=204))
