"""The routes of WebSockets, ahead of those of HTTP requests."""

from collections.abc import Iterable

from starlette.routing import BaseRoute, Match, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send


class SocketRoutes:
    """The innermost middleware: it hands WebSockets to their routes, in the order of these.

    Starlette would try the routes of HTTP requests as well, and have its handlers of exceptions ready; the relay's ones
    raise an exception of a WebSocket again. Thousands of clients may come at once, so both count.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._routes = [route for route in routes if isinstance(route, WebSocketRoute)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket whose path has a route; pass everything else on."""
        if scope["type"] == "websocket":
            for route in self._routes:
                match, found = route.matches(scope)
                if match is Match.FULL:
                    scope.update(found)
                    await route.app(scope, receive, send)
                    return
        await self._app(scope, receive, send)
