"""The routes of the gateway, and its state for each worker."""

from collections.abc import Mapping

from starlette.routing import BaseRoute, WebSocketRoute

from relay.config import Settings
from relay.gateways.firebase.declaration import SOCKET
from relay.gateways.firebase.gateway import FirebaseGateway
from relay.rooms.worker import Worker


def routes(settings: Settings) -> list[BaseRoute]:
    """Make the routes of the gateway."""
    return [WebSocketRoute(SOCKET, FirebaseGateway(settings))]


def state(worker: Worker) -> Mapping[str, object]:
    """Make the gateway's state for one worker: it has none."""
    return {}
