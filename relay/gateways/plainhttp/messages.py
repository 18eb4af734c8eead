"""`/rooms/NAME/messages`: long polling by GET, publishing by POST, leaving by DELETE; `POST /rooms/NAME/leave`."""

from msgspec import structs

from relay.config import Settings
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.http import HttpBody, HttpExchange
from relay.gateways.base.http_place import PlaceQuery, any_peer, with_key
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.leaving import leave
from relay.gateways.plainhttp.codec import PollCodec
from relay.gateways.plainhttp.declaration import CREDENTIALS, NAME, TOKENS
from relay.gateways.plainhttp.polls import PollDialect
from relay.gateways.plainhttp.posts import answer_post
from relay.gateways.plainhttp.state import state_of
from relay.http_request import counted_client
from relay.model.codec import Frame
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
        worker: Worker = exchange.scope["state"]["worker"]
        polls = state_of(exchange.scope).polls
        if query.place.resume and await polls.go_on(exchange, query.place, since, wait):
            return
        request = with_key(query.join_request(since), worker.session_ids.issue())
        if not request.peer:
            # The session goes by the name of its place.
            request = structs.replace(
                request, peer=await any_peer(worker, request.token, counted_client(exchange.scope))
            )
        await polls.begin(exchange, self._codecs, self._dialect, request, wait)


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
