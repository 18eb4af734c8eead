"""The routes of the gateway, and its state for each worker."""

from collections.abc import Mapping

from starlette.routing import BaseRoute, Route, WebSocketRoute

from relay.config import Settings
from relay.gateways.firebase.declaration import POLLS, SOCKET
from relay.gateways.firebase.gateway import FirebaseGateway
from relay.gateways.firebase.polls import LongPollEndpoint
from relay.gateways.firebase.rest import ValueEndpoint, ValueRoute
from relay.gateways.firebase.state import STATE, FirebaseState
from relay.rooms.worker import Worker


def routes(settings: Settings) -> list[BaseRoute]:
    """Make the routes of the gateway."""
    return [
        WebSocketRoute(SOCKET, FirebaseGateway(settings)),
        Route(POLLS, LongPollEndpoint(settings)),
        ValueRoute(ValueEndpoint(settings), named_only=bool(settings.static)),
    ]


def state(worker: Worker) -> Mapping[str, object]:
    """Make the gateway's state for one worker."""
    return {STATE: FirebaseState(worker)}
