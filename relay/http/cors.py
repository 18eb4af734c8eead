"""Cross-origin requests (CORS): which pages may read replies."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from relay.http.responses import ErrorResponse
from relay.model.errors import Refused
from relay.origins import AllowedOrigins
from relay.paths import PathPrefixes

_KEPT_HEADERS = ("vary", "access-control-allow-origin", "access-control-allow-methods", "access-control-allow-headers")


class Cors(CORSMiddleware):
    """Starlette's middleware, with three differences.

    Origins may have wildcards. A refused preflight request gets an error in the relay's format. Requests below
    `gateway_prefixes` pass unchanged, because the clients of some gateways expect headers of their own.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str], gateway_prefixes: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=("Authorization", "Content-Type"),
            expose_headers=("Retry-After",),
            max_age=7200,
        )
        self._origins = AllowedOrigins(origins)
        self._of_gateways = PathPrefixes(gateway_prefixes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass requests to gateways on, and treat all others as Starlette does."""
        if scope["type"] == "http" and self._of_gateways.match(scope):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def is_allowed_origin(self, origin: str) -> bool:
        """Return whether pages of an origin may read responses."""
        return self._origins.allows(origin)

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer the OPTIONS request that a browser sends before a cross-origin request."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            response.headers["X-Content-Type-Options"] = "nosniff"
            return response
        headers = {name: value for name, value in response.headers.items() if name in _KEPT_HEADERS}
        try:
            self._origins.check(request_headers["origin"])
        except Refused as error:
            return ErrorResponse(error, headers)
        return ErrorResponse(Refused("forbidden", bytes(response.body).decode()), headers)
