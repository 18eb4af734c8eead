"""The ASGI application of a gateway: its WebSockets, its HTTP requests, and the refusals of both."""

from collections.abc import Sequence

import msgspec
from mypy_extensions import mypyc_attr
from starlette.types import Receive, Scope, Send

from relay.config import Settings
from relay.gateways.base.admission import check_origin
from relay.gateways.base.http import JSON, GatewayResponses, HttpBody, HttpExchange
from relay.gateways.base.websocket import deny
from relay.http_request import counted_client
from relay.model.errors import Refused
from relay.rooms.worker import Worker


@mypyc_attr(allow_interpreted_subclasses=True)
class GatewayEndpoint:
    """Checks the origin of every request, answers preflight requests, and counts and writes refusals.

    `protocol` is the label of the refusals in metrics. The other arguments are those of `GatewayResponses`; an endpoint
    takes `credentials` from its gateway's declaration.
    """

    def __init__(
        self,
        settings: Settings,
        protocol: str,
        *,
        session_header: str = "",
        methods: Sequence[str] = ("GET", "POST"),
        credentials: bool = False,
    ) -> None:
        self._protocol = protocol
        self.responses = GatewayResponses(
            settings, session_header=session_header, methods=methods, credentials=credentials
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one WebSocket."""
        if scope["type"] == "websocket":
            try:
                check_origin(scope)
                await self.serve_socket(scope, receive, send)
            except Refused as error:
                refusal = self.refusal(await self._counted(scope, error), handshake=True)
                await deny(scope, receive, send, refusal.data, refusal.status)
            return
        exchange = self.exchange(scope, receive, send)
        if exchange.method == "OPTIONS":
            # Browsers send one ahead of each poll of some pages, so that none may be refused.
            worker: Worker = scope["state"]["worker"]
            await worker.requests.slow_down(counted_client(scope))
            await exchange.respond(HttpBody(b"", status=204))
            return
        try:
            check_origin(scope)
            await self.serve_request(exchange)
        except Refused as error:
            await exchange.respond(self.refusal(await self._counted(scope, error), handshake=False))
        finally:
            exchange.release()

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

    async def _counted(self, scope: Scope, error: Refused) -> Refused:
        """Count a refusal, and return it, or another one for an address that sends too many requests.

        Requests that are served count as a handshake or a message. Refused ones count for the rate of HTTP requests,
        and wait where the address is above it.
        """
        worker: Worker = scope["state"]["worker"]
        try:
            await worker.requests.admit(counted_client(scope))
        except Refused as too_many:
            error = too_many
        worker.metrics.of(self._protocol).refused(error.code)
        return error
