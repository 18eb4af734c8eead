"""HTTP responses: the headers of all of them, and the format of errors."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ExceptionHandler, Receive, Scope, Send

from relay.http.request import worker_of
from relay.metrics import API
from relay.model.errors import STATUS_HEADERS, Refused, RelayError

COMMON_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""On every response: it is true only now, so no cache may keep it, and browsers must not guess its type."""

_STATUS_CODES: Final = {404: "not_found", 405: "bad_method"}


class ApiResponse(JSONResponse):
    """A response in JSON."""

    def __init__(self, content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(content, status, {**COMMON_HEADERS, **(headers or {})})


class ErrorResponse(ApiResponse):
    """An error in JSON: `{"error": {"code", "text", …detail}}`; it is counted by its code when it is sent."""

    def __init__(self, error: RelayError, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error.body, error.status, {**STATUS_HEADERS.get(error.status, {}), **(headers or {})})
        self._code = error.code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the error, and send the response."""
        worker_of(scope).metrics.errors.labels(API, self._code).inc()
        await super().__call__(scope, receive, send)


def failed(request: Request, error: RelayError) -> dict[str, object]:
    """Return the error of a part of a request, whose other parts may succeed; it is counted by its code."""
    worker_of(request.scope).metrics.errors.labels(API, error.code).inc()
    return error.body


async def _on_relay_error(request: Request, error: Exception) -> Response:
    # Starlette calls exception handlers for WebSockets as well, where no HTTP response can be sent any more. The
    # gateways handle errors there; one that arrives here is raised again, so that the server logs it.
    if request.scope["type"] != "http" or not isinstance(error, RelayError):
        raise error
    return ErrorResponse(error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    if request.scope["type"] != "http" or not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405 and request.method == "OPTIONS":
        # RFC 9110, 9.3.7. HAProxy, among others, checks a server by `OPTIONS /` unless it is told otherwise.
        allowed = f"{(error.headers or {}).get('Allow', 'GET')}, OPTIONS"
        return Response(status_code=204, headers={**COMMON_HEADERS, "Allow": allowed})
    return ErrorResponse(Refused(_STATUS_CODES.get(error.status_code, "internal")), error.headers)


async def _on_disconnect(request: Request, error: Exception) -> Response:
    # The client has gone; the status only shows up in logs of proxies.
    return Response(status_code=400, headers=COMMON_HEADERS)


async def _on_failure(request: Request, error: Exception) -> Response:
    return ErrorResponse(RelayError())


exception_handlers: Final[Mapping[Any, ExceptionHandler]] = {
    RelayError: _on_relay_error,
    HTTPException: _on_http_error,
    ClientDisconnect: _on_disconnect,
    Exception: _on_failure,
}
"""Exception → handler, for the whole application: gateways and pages get the same format of errors."""
