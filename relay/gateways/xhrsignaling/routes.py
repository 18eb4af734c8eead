"""The routes of the gateway, and its state for each worker."""

from collections.abc import Mapping

from starlette.routing import BaseRoute, Route

from relay.config import Settings
from relay.gateways.xhrsignaling.declaration import POLL, POST
from relay.gateways.xhrsignaling.gateway import PollEndpoint, PostEndpoint
from relay.gateways.xhrsignaling.state import STATE, XhrState
from relay.paths import RoomRoute
from relay.rooms.worker import Worker


def routes(settings: Settings) -> list[BaseRoute]:
    """Make the routes of the default room, and those below `/rooms/NAME`."""
    endpoints = ((POLL, PollEndpoint(settings)), (POST, PostEndpoint(settings)))
    return [
        *(Route(path, endpoint) for path, endpoint in endpoints),
        *(RoomRoute(endpoint, path) for path, endpoint in endpoints),
    ]


def state(worker: Worker) -> Mapping[str, object]:
    """Make the gateway's state for one worker; the application puts it into `scope["state"]`."""
    return {STATE: XhrState(worker)}
