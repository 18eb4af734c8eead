"""The routes of the native protocol."""

from collections.abc import Mapping

from starlette.routing import BaseRoute, WebSocketRoute

from relay.config import Settings
from relay.gateways.native.gateway import NativeGateway
from relay.paths import RoomWebSocketRoute
from relay.rooms.worker import Worker


def routes(settings: Settings) -> list[BaseRoute]:
    """Make the WebSocket routes; a session of this protocol is on the worker that accepted its WebSocket."""
    gateway = NativeGateway(settings)
    return [WebSocketRoute("/", gateway), RoomWebSocketRoute(gateway)]


def state(worker: Worker) -> Mapping[str, object]:
    """Make the gateway's state for one worker: it has none."""
    return {}
