"""The ASGI application of a gateway: its WebSockets, its HTTP requests, and the refusals of both."""

import msgspec
from starlette.types import Receive, Scope, Send

from relay.config import Settings
from relay.gateways.base.admission import check_origin
from relay.gateways.base.http import JSON, GatewayResponses, HttpBody, HttpExchange
from relay.gateways.base.websocket import deny
from relay.model.errors import Refused
from relay.rooms.worker import Worker


class GatewayEndpoint:
    """Checks the origin of every request, answers preflight requests, and counts and writes refusals.

    `protocol` is the label of the refusals in metrics. The other arguments are those of `GatewayResponses`.
    """

    def __init__(
        self, settings: Settings, protocol: str, *, session_header: str = "", methods: bytes = b"GET, POST"
    ) -> None:
        self._protocol = protocol
        self.responses = GatewayResponses(settings, session_header=session_header, methods=methods)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one WebSocket."""
        if scope["type"] == "websocket":
            try:
                check_origin(scope)
                await self.serve_socket(scope, receive, send)
            except Refused as error:
                self._count(scope, error)
                refusal = self.refusal(error, handshake=True)
                await deny(scope, receive, send, refusal.data, refusal.status)
            return
        exchange = self.exchange(scope, receive, send)
        if exchange.method == "OPTIONS":
            await exchange.respond(HttpBody(b"", status=204))
            return
        try:
            check_origin(scope)
            await self.serve_request(exchange)
        except Refused as error:
            self._count(scope, error)
            await exchange.respond(self.refusal(error, handshake=False))

    def exchange(self, scope: Scope, receive: Receive, send: Send) -> HttpExchange:
        """Make the exchange of a request; a gateway whose requests or responses have another form has its own class."""
        return HttpExchange(scope, receive, send, self.responses)

    async def serve_request(self, exchange: HttpExchange) -> None:
        """Serve an HTTP request from a page of an allowed origin; raises `Refused` before the response begins."""
        raise Refused("not_found")

    async def serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket from a page of an allowed origin; raises `Refused` before it is accepted."""
        raise Refused("not_found")

    def refusal(self, error: Refused, *, handshake: bool) -> HttpBody:
        """Write an error in the words of the protocol; `handshake`: the request was to begin a WebSocket.

        The default is the relay's own format.
        """
        return HttpBody(msgspec.json.encode(error.body), JSON, error.status)

    def _count(self, scope: Scope, error: Refused) -> None:
        worker: Worker = scope["state"]["worker"]
        worker.metrics.of(self._protocol).refused(error.code)
