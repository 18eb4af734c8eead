"""The routes of WebSockets, ahead of those of HTTP requests."""

from collections.abc import Iterable

from starlette.routing import BaseRoute, Match, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send


class SocketRoutes:
    """Middleware that hands WebSockets to their routes, in the order of these.

    Starlette would try the routes of HTTP requests as well, and have its handlers of exceptions ready; the relay's ones
    raise an exception of a WebSocket again. Thousands of clients may come at once, so both count.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._routes = [route for route in routes if isinstance(route, WebSocketRoute)]
        firsts = [_first_segment(route.path) for route in self._routes]
        # In their order, those that a path with this first segment can match; and those that any other path can.
        self._beginning = {
            first: [route for route, its in zip(self._routes, firsts, strict=True) if its == first or "{" in its]
            for first in firsts
        }
        self._others = [route for route, its in zip(self._routes, firsts, strict=True) if "{" in its]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket whose path has a route; pass everything else on."""
        if scope["type"] == "websocket":
            for route in self._candidates(scope):
                match, found = route.matches(scope)
                if match is Match.FULL:
                    scope.update(found)
                    await route.app(scope, receive, send)
                    return
        await self._app(scope, receive, send)

    def _candidates(self, scope: Scope) -> list[WebSocketRoute]:
        if scope.get("root_path"):
            # The path begins with that one, which is not in the paths of the routes.
            return self._routes
        return self._beginning.get(_first_segment(scope["path"]), self._others)


def _first_segment(path: str) -> str:
    return path.partition("/")[2].partition("/")[0]
