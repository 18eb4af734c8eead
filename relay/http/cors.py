"""Middleware for cross-origin requests to the relay's own HTTP interface."""

from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relay.cors import CorsPolicy, Header
from relay.http.responses import COMMON_HEADERS, ErrorResponse
from relay.http_request import header
from relay.model.errors import Refused
from relay.paths import PathPrefixes

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_EXPOSED = "Retry-After"
"""The response header that pages may read beside those that they may always read."""

_VARY = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network"


class Cors:
    """Answers preflight requests, and lets pages of allowed origins read all other responses.

    A refused preflight request gets an error in the relay's format. Requests below `gateway_prefixes` pass unchanged,
    as gateways write these headers themselves. No response allows credentials.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str], gateway_prefixes: Sequence[str]) -> None:
        self._app = app
        self._policy = CorsPolicy(origins, methods=_METHODS)
        self._of_gateways = PathPrefixes(gateway_prefixes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http" or self._of_gateways.match(scope):
            await self._app(scope, receive, send)
            return
        origin = header(scope, b"origin")
        method = header(scope, b"access-control-request-method")
        if scope["method"] == "OPTIONS" and origin is not None and method is not None:
            await self._answer_preflight(scope, receive, send, origin, method)
            return
        headers = self._policy.of_response(origin)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add(MutableHeaders(scope=message), headers)
            await send(message)

        await self._app(scope, receive, send_with_headers)

    async def _answer_preflight(self, scope: Scope, receive: Receive, send: Send, origin: str, method: str) -> None:
        requested = header(scope, b"access-control-request-headers")
        private = header(scope, b"access-control-request-private-network") == "true"
        headers = {
            **COMMON_HEADERS,
            **_texts(self._policy.of_preflight(origin, requested, private_network=private)),
            "Vary": _VARY,
        }
        try:
            self._policy.origins.check(origin)
            if method not in self._policy.methods:
                raise Refused("forbidden", f"pages of other origins may use {', '.join(self._policy.methods)}")
            if not self._policy.allows_headers(requested):
                raise Refused("forbidden", "pages of other origins may send no other headers than Authorization and "
                              "Content-Type")  # fmt: skip
        except Refused as error:
            await ErrorResponse(error, headers)(scope, receive, send)
            return
        await PlainTextResponse("OK", 200, headers)(scope, receive, send)


def _add(headers: MutableHeaders, cors: Sequence[Header]) -> None:
    """Add the CORS headers to a response, unless it is for all origins anyway, such as a file."""
    if "access-control-allow-origin" not in headers:
        for name, text in _texts(cors).items():
            if name == "vary":
                headers.add_vary_header(text)
            else:
                headers[name] = text
    if "access-control-allow-origin" in headers:
        headers["Access-Control-Expose-Headers"] = _EXPOSED


def _texts(headers: Sequence[Header]) -> dict[str, str]:
    return {name.decode("ascii"): value.decode("ascii") for name, value in headers}
