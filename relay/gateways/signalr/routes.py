"""The routes of the gateway, and its state for each worker."""

from collections.abc import Mapping

from starlette.routing import BaseRoute, Route, WebSocketRoute

from relay.config import Settings
from relay.gateways.signalr.declaration import NEGOTIATE, PATH
from relay.gateways.signalr.gateway import SignalRGateway
from relay.gateways.signalr.negotiation import NegotiateEndpoint
from relay.gateways.signalr.state import STATE, SignalRState
from relay.paths import RoomRoute, RoomWebSocketRoute
from relay.rooms.worker import Worker

_OF_NEGOTIATION = ["POST", "OPTIONS"]
"""The methods of a negotiation: clients of ASP.NET SignalR ask at the same path by GET."""


def routes(settings: Settings) -> list[BaseRoute]:
    """Make the routes of the default room, and those below `/rooms/NAME`."""
    negotiate, hub = NegotiateEndpoint(settings), SignalRGateway(settings)
    return [
        Route(NEGOTIATE, negotiate, methods=_OF_NEGOTIATION),
        RoomRoute(negotiate, NEGOTIATE, methods=_OF_NEGOTIATION),
        Route(PATH, hub),
        WebSocketRoute(PATH, hub),
        RoomRoute(hub, PATH),
        RoomWebSocketRoute(hub, PATH),
    ]


def state(worker: Worker) -> Mapping[str, object]:
    """Make the gateway's state for one worker; the application puts it into `scope["state"]`."""
    return {STATE: SignalRState(worker)}
