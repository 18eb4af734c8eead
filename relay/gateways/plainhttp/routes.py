"""The routes of the gateway, and its state for each worker."""

from collections.abc import Mapping

from starlette.routing import BaseRoute

from relay.config import Settings
from relay.gateways.plainhttp.declaration import EVENTS, LEAVE, MESSAGES
from relay.gateways.plainhttp.events import EventsEndpoint
from relay.gateways.plainhttp.messages import LeaveEndpoint, MessagesEndpoint
from relay.gateways.plainhttp.state import STATE, HttpState
from relay.paths import RoomRoute
from relay.rooms.worker import Worker


def routes(settings: Settings) -> list[BaseRoute]:
    """Make the routes below `/rooms/NAME`."""
    return [
        RoomRoute(EventsEndpoint(settings), EVENTS),
        RoomRoute(MessagesEndpoint(settings), MESSAGES),
        RoomRoute(LeaveEndpoint(settings), LEAVE),
    ]


def state(worker: Worker) -> Mapping[str, object]:
    """Make the gateway's state for one worker; the application puts it into `scope["state"]`."""
    return {STATE: HttpState(worker)}
