"""`GET /rooms/NAME/events`: the messages of a room as Server-Sent Events.

A browser's `EventSource` gives up for good after any response other than 200 with an event stream. So each refusal that
may pass is such a stream, which says why, and ends.
"""

from functools import partial
from typing import Final

from msgspec import structs

from relay.config import Settings
from relay.gateways.base.admission import admit
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.http import EVENT_STREAM, HttpBody, HttpExchange
from relay.gateways.base.http_place import PlaceQuery, last_event_id
from relay.gateways.base.http_sessions import HttpSession, NoPosts, answer_stream
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.passing import passes
from relay.gateways.base.polling_rules import PollAnswer, PollingRules
from relay.gateways.base.query import parse_since
from relay.gateways.plainhttp.codec import END_ID, GREETING, EventsCodec, closing_block, refusal_block
from relay.gateways.plainhttp.declaration import CREDENTIALS, NAME, TOKENS
from relay.gateways.plainhttp.state import state_of
from relay.http_request import header
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.errors import Refused
from relay.rooms.worker import Worker

_RULES: Final = PollingRules(lost_after=30, lost_with_request=True)
_KEEPALIVE: Final = b":\n\n"


class StreamDialect(NoPosts):
    """Writes the parts of a stream."""

    def answer(self, answer: PollAnswer) -> HttpBody:
        """Write a part as a response of its own."""
        return HttpBody(self.events(answer), EVENT_STREAM)

    def events(self, answer: PollAnswer) -> bytes:
        """Write the text of an answer."""
        text = b"".join([frame.data for frame in answer.frames])
        if answer.closed is not None:
            return text + closing_block(answer.closed)
        if not text and answer.reached is not None:
            # Browsers note the id of a block without data, and show the page nothing.
            return b"id: %b\n\n" % answer.reached.encode()
        return text or _KEEPALIVE


class EventsEndpoint(GatewayEndpoint):
    """The ASGI application of event streams."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, NAME, methods=("GET",), credentials=CREDENTIALS)
        codec = EventsCodec(lossy=not settings.history_size)
        self._codecs: CodecPair[Frame] = CodecPair(codec, codec)
        self._dialect = StreamDialect()

    async def serve_request(self, exchange: HttpExchange) -> None:
        """Join the room, and stream until the client or the relay ends it."""
        if exchange.method != "GET":
            raise Refused("bad_method")
        scope = exchange.scope
        seen = last_event_id(scope)
        if seen == END_ID:
            await exchange.respond(HttpBody(b"", status=204))
            return
        query = PlaceQuery(scope, TOKENS)
        if not query.names_peer and EVENT_STREAM.decode() not in (header(scope, b"accept") or ""):
            # A crawler that follows links must not enter rooms.
            raise Refused("bad_query", "the address needs peer; an empty one stands for any")
        request = query.join_request(_since(seen) or query.since())
        worker: Worker = scope["state"]["worker"]
        with admit(scope, NAME) as ticket:
            session = HttpSession(state_of(scope).streams, self._codecs, ticket, dialect=self._dialect, rules=_RULES)
        ticket.metrics.handshakes += 1
        worker.spawn(session.enter(partial(structs.replace, request)))
        await answer_stream(
            exchange, session, session.polling, self._dialect.events, greeting=GREETING, reached=session.reached
        )

    def refusal(self, error: Refused, *, handshake: bool) -> HttpBody:
        """Write an error that may pass as a stream that ends, and any other one with its status."""
        if not passes(error):
            return super().refusal(error, handshake=handshake)
        return HttpBody(refusal_block(error), EVENT_STREAM)


def _since(seen: str) -> MessageId | None:
    """Return the id that a browser has seen last; None for a text that is no id.

    It is the last one of any stream that the page had open, so it is no reason to end its `EventSource` for good.
    """
    try:
        return parse_since(seen)
    except Refused:
        return None
