"""The admin port. It serves only health and metrics."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from relay.config import ListenAddress
from relay.http.responses import ErrorResponse
from relay.model.errors import Refused

ADMIN_PATHS: Final = frozenset({"/health", "/health/live", "/metrics"})


def on_admin_port(scope: Scope, admin: ListenAddress | None) -> bool:
    """Whether a request came to the admin port; False if there is none."""
    server = scope.get("server")
    return admin is not None and server is not None and server[1] == admin.port


class AdminPort:
    """Middleware that answers 404 on the admin port, except for `ADMIN_PATHS`."""

    def __init__(self, app: ASGIApp, address: ListenAddress) -> None:
        self._app = app
        self._address = address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, unless it came to the admin port for a path that is not served there."""
        app: ASGIApp = self._app
        if scope["type"] != "lifespan" and on_admin_port(scope, self._address):
            if scope["type"] == "websocket":
                app = WebSocketClose()
            elif scope["path"] not in ADMIN_PATHS:
                app = ErrorResponse(Refused("not_found", "the admin port serves only health and metrics"))
        await app(scope, receive, send)
