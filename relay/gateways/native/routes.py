"""The routes of the native protocol."""

from collections.abc import Mapping

from starlette.routing import BaseRoute, WebSocketRoute

from relay.config import Settings
from relay.gateways.native.declaration import CONNECT, FRAMES
from relay.gateways.native.gateway import NativeGateway
from relay.gateways.native.streams import STATE, ConnectEndpoint, FramesEndpoint, Streams
from relay.paths import RoomRoute, RoomWebSocketRoute
from relay.rooms.worker import Worker


def routes(settings: Settings) -> list[BaseRoute]:
    """Make the routes of WebSockets, and those of clients that have only HTTP."""
    gateway = NativeGateway(settings)
    return [
        WebSocketRoute("/", gateway),
        RoomWebSocketRoute(gateway),
        RoomRoute(ConnectEndpoint(settings), CONNECT),
        RoomRoute(FramesEndpoint(settings), FRAMES),
    ]


def state(worker: Worker) -> Mapping[str, object]:
    """Make the gateway's state for one worker: the sessions of clients that have only HTTP."""
    return {STATE: Streams(worker)}
