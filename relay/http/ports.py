"""The admin port. It serves only health and metrics; where there is one, the public port does not serve metrics."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from relay.config import Settings
from relay.http.responses import ErrorResponse
from relay.model.errors import Refused

ADMIN_PATHS: Final = frozenset({"/health", "/health/live", "/metrics"})


def may_see_metrics(scope: Scope, settings: Settings) -> bool:
    """Whether a request arrived on a port that serves metrics.

    A unix socket (port None) does: only programs on the same machine reach it, such as another worker.
    """
    admin, port = settings.admin_address, _port(scope)
    return admin is None or port is None or port == admin.port


class AdminPort:
    """Middleware that answers 404 on the admin port, except for `ADMIN_PATHS`."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._admin_port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, unless it came to the admin port for a path that is not served there."""
        app: ASGIApp = self._app
        if scope["type"] != "lifespan" and _port(scope) == self._admin_port:
            if scope["type"] == "websocket":
                app = WebSocketClose()
            elif scope["path"] not in ADMIN_PATHS:
                app = ErrorResponse(Refused("not_found", "the admin port serves only health and metrics"))
        await app(scope, receive, send)


def _port(scope: Scope) -> int | None:
    server = scope.get("server")
    return server[1] if server else None
