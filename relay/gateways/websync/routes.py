"""The routes of the gateway, and its state for each worker."""

from collections.abc import Mapping

from starlette.routing import BaseRoute, Route

from relay.config import Settings
from relay.gateways.websync.declaration import PATH
from relay.gateways.websync.gateway import WebSyncEndpoint
from relay.gateways.websync.state import STATE, WebSyncState
from relay.paths import RoomRoute
from relay.rooms.worker import Worker


def routes(settings: Settings) -> list[BaseRoute]:
    """Make the routes of the default room, and those below `/rooms/NAME`."""
    endpoint = WebSyncEndpoint(settings)
    return [Route(PATH, endpoint), RoomRoute(endpoint, PATH)]


def state(worker: Worker) -> Mapping[str, object]:
    """Make the gateway's state for one worker; the application puts it into `scope["state"]`."""
    return {STATE: WebSyncState(worker)}
