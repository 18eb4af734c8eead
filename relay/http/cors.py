"""Cross-origin requests."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from relay.http.responses import ErrorResponse
from relay.model.errors import Refused

_GATEWAYS = ("/socket.io",)
_KEPT = ("vary", "access-control-allow-origin", "access-control-allow-methods", "access-control-allow-headers")


class Cors(CORSMiddleware):
    """Starlette's, but a preflight that is refused gets an error of our shape.

    Gateways that are asked over HTTP, by clients with rules of their own, see to these headers themselves.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `CORSMiddleware`."""
        if scope["type"] == "http" and scope["path"].startswith(_GATEWAYS):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer the OPTIONS request with which a browser asks before a cross-origin one."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        code = "forbidden" if self.is_allowed_origin(request_headers["origin"]) else "bad_origin"
        headers = {name: value for name, value in response.headers.items() if name in _KEPT}
        return ErrorResponse(Refused(code, bytes(response.body).decode()), headers)
