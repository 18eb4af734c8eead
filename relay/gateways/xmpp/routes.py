"""The routes of the gateway, and its state for each worker."""

from collections.abc import Mapping

from starlette.routing import BaseRoute, WebSocketRoute

from relay.config import Settings
from relay.gateways.xmpp.declaration import SOCKET_PATH
from relay.gateways.xmpp.gateway import XmppGateway
from relay.rooms.worker import Worker


def routes(settings: Settings) -> list[BaseRoute]:
    """Make the routes of the gateway."""
    return [WebSocketRoute(SOCKET_PATH, XmppGateway(settings))]


def state(worker: Worker) -> Mapping[str, object]:
    """Return nothing: the gateway keeps no state beside its sessions."""
    return {}
