"""The routes of the gateway, and its state for each worker."""

from collections.abc import Mapping

from starlette.routing import BaseRoute

from relay.config import Settings
from relay.gateways.sip.declaration import NAME
from relay.gateways.sip.gateway import STATE, SipGateway
from relay.gateways.sip.login import Logins
from relay.paths import RoomSubprotocolRoute, SubprotocolRoute
from relay.rooms.worker import Worker


def routes(settings: Settings) -> list[BaseRoute]:
    """Make the routes of the gateway, which only WebSockets of its subprotocol take."""
    gateway = SipGateway(settings)
    return [SubprotocolRoute("/", gateway, NAME), RoomSubprotocolRoute(gateway, NAME)]


def state(worker: Worker) -> Mapping[str, object]:
    """Make the gateway's state for one worker."""
    return {STATE: Logins(worker)}
