"""The routes of the gateway, and its state for each worker."""

from collections.abc import Mapping
from typing import Final

from starlette.routing import BaseRoute, Match, Route, WebSocketRoute
from starlette.types import Scope

from relay.config import Settings
from relay.gateways.signalrclassic.declaration import ACTIONS, HUBS, NEGOTIATE, PATH, SCRIPTS
from relay.gateways.signalrclassic.gateway import ClassicGateway
from relay.gateways.signalrclassic.state import STATE, ClassicState
from relay.http_request import header
from relay.paths import RoomRoute, RoomWebSocketRoute
from relay.rooms.worker import Worker

_SOCKETS: Final = ("/connect", "/reconnect")


def _left_to_others(found: tuple[Match, Scope], scope: Scope) -> tuple[Match, Scope]:
    """Prefer another route for a POST, and for the preflight request of one: clients of ASP.NET Core post."""
    match, child = found
    asked = header(scope, b"access-control-request-method") if scope.get("method") == "OPTIONS" else scope.get("method")
    return (Match.PARTIAL if match is Match.FULL and asked == "POST" else match), child


class _NegotiateRoute(Route):
    """The route of the first request, which clients get."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the path."""
        return _left_to_others(super().matches(scope), scope)


class _RoomNegotiateRoute(RoomRoute):
    """The same below `/rooms/NAME`."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the path as the client wrote it."""
        return _left_to_others(super().matches(scope), scope)


def routes(settings: Settings) -> list[BaseRoute]:
    """Make the routes of the default room, and those below `/rooms/NAME`.

    A page whose `url` is that of the script has all its requests below that.
    """
    gateway = ClassicGateway(settings)
    found: list[BaseRoute] = []
    for base in (PATH, PATH + HUBS):
        found += [_NegotiateRoute(base + NEGOTIATE, gateway), _RoomNegotiateRoute(gateway, base + NEGOTIATE)]
        for path in (base + action for action in ACTIONS):
            found += [Route(path, gateway), RoomRoute(gateway, path)]
        for path in (base + action for action in _SOCKETS):
            found += [WebSocketRoute(path, gateway), RoomWebSocketRoute(gateway, path)]
    for path in (PATH + script for script in SCRIPTS):
        found += [Route(path, gateway), RoomRoute(gateway, path)]
    return found


def state(worker: Worker) -> Mapping[str, object]:
    """Make the gateway's state for one worker; the application puts it into `scope["state"]`."""
    return {STATE: ClassicState(worker)}
