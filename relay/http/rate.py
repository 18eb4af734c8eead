"""The rate of HTTP requests of each client address."""

from collections.abc import Sequence
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from relay.http.access import OperatorAccess
from relay.http.request import worker_of
from relay.http.responses import ErrorResponse
from relay.http_request import counted_client
from relay.model.errors import Refused
from relay.paths import PathPrefixes

_CHECKS: Final = frozenset({"/health", "/health/live"})
"""Paths for load balancers: their checks must pass also while clients of the same address send too much."""


class LimitedRequests:
    """Middleware that lets requests above the rate wait, and refuses those that would wait too long.

    Health checks are never refused. Requests below `gateway_prefixes` pass: gateways count those that they refuse, and
    the limits of sessions are for the others. So do those to the admin port, and those of other workers.
    """

    def __init__(self, app: ASGIApp, access: OperatorAccess, gateway_prefixes: Sequence[str]) -> None:
        self._app = app
        self._access = access
        self._of_gateways = PathPrefixes(gateway_prefixes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request when its address may be answered."""
        app: ASGIApp = self._app
        if scope["type"] == "http" and not self._of_gateways.match(scope) and not self._access.is_internal(scope):
            requests, address = worker_of(scope).requests, counted_client(scope)
            try:
                await (requests.slow_down(address) if scope["path"] in _CHECKS else requests.admit(address))
            except Refused as error:
                app = ErrorResponse(error)
        await app(scope, receive, send)
