"""What the admin port is for: it has health and metrics alone, and where there is one, metrics are nowhere else."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from relay.config import Settings
from relay.http.responses import ErrorResponse
from relay.model.errors import Refused

ADMIN_PATHS: Final = frozenset({"/health", "/health/live", "/metrics"})


def may_see_metrics(scope: Scope, settings: Settings) -> bool:
    """Whether a request came in where metrics are served: unix sockets count, as only the same machine reaches them."""
    port = _port(scope)
    return not settings.admin_port or port is None or port == settings.admin_port


class AdminPort:
    """Keeps everything else away from the admin port."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or say that there is nothing here."""
        app: ASGIApp = self._app
        if scope["type"] != "lifespan" and _port(scope) == self._settings.admin_port:
            if scope["type"] == "websocket":
                app = WebSocketClose()
            elif scope["path"] not in ADMIN_PATHS:
                app = ErrorResponse(Refused("not_found", "the admin port has health and metrics alone"))
        await app(scope, receive, send)


def _port(scope: Scope) -> int | None:
    server = scope.get("server")
    return server[1] if server else None
