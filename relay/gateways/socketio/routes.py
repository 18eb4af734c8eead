"""The routes of the gateway, and its state for each worker."""

import re
from collections.abc import Mapping

from starlette.routing import BaseRoute, Route, WebSocketRoute

from relay.config import Settings
from relay.gateways.socketio import gateway, script
from relay.gateways.socketio.apps.signalmaster import healthcheck
from relay.gateways.socketio.declaration import PATH
from relay.gateways.socketio.engine import EngineSessions
from relay.gateways.socketio.v09 import gateway as v09
from relay.rooms.worker import Worker


def routes(settings: Settings) -> list[BaseRoute]:
    """Make the routes of the gateway; the slash at the end of a path may be left out."""
    found: list[BaseRoute] = [*script.routes(settings, PATH), healthcheck.route()]
    for application, pattern in (
        (gateway.SocketIOGateway(settings), r"/?\Z"),
        (v09.V09Gateway(settings), r"/1(/.*)?\Z"),
    ):
        for route in (Route(PATH, application), WebSocketRoute(PATH, application)):
            route.path_regex = re.compile(re.escape(PATH) + pattern)
            found.append(route)
    return found


def state(worker: Worker) -> Mapping[str, object]:
    """Make the gateway's state for one worker; the application puts it into `scope["state"]`."""
    return {gateway.STATE: EngineSessions(worker), v09.STATE: v09.V09Sessions(worker)}
