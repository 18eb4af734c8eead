"""Socket.IO clients of versions 0.9 to 4, over WebSocket and long polling, in the same rooms as all other clients.

The relay reads and writes these protocols with code of its own, which does no I/O, instead of python-engineio and
python-socketio. Those libraries speak only Engine.IO 4 and encode a message once for each receiver: 110 to 2,083
microseconds for one delivery through Redis, where Node's Socket.IO takes 22 to 84. This gateway encodes a message once
for all members of a room that speak the same version.

From the outside in: `gateway`, `requests` and `forwarding` serve HTTP requests and WebSockets; `engine`, `polling` and
`upgrade` are Engine.IO sessions and their transports; `packets` reads and writes Engine.IO; `client` and `namespaces`
are a client and its sessions; `parser`, `encoders` and `codec` translate between Socket.IO packets and envelopes.
`v09` is version 0.9, and `script` redirects to the client's own script.
"""

import re
from collections.abc import Mapping, Sequence

from starlette.routing import BaseRoute, Route, WebSocketRoute

from relay.config import Settings
from relay.gateways.socketio import gateway, script
from relay.gateways.socketio.engine import EngineSessions
from relay.gateways.socketio.forwarding import Forwarder
from relay.gateways.socketio.v09 import gateway as v09
from relay.rooms.worker import Worker

PATH = "/socket.io"


def routes(settings: Settings, local_workers: Sequence[str]) -> list[BaseRoute]:
    """Make the routes of the gateway; the slash at the end of a path may be left out.

    `local_workers` are the unix sockets of all workers behind the same port, empty for a lone worker.
    """
    found: list[BaseRoute] = [*script.routes(settings, PATH)]
    forwarder = Forwarder(local_workers)
    for application, pattern in (
        (gateway.SocketIOGateway(settings, forwarder), r"/?\Z"),
        (v09.V09Gateway(settings, forwarder), r"/1(/.*)?\Z"),
    ):
        for route in (Route(PATH, application), WebSocketRoute(PATH, application)):
            route.path_regex = re.compile(re.escape(PATH) + pattern)
            found.append(route)
    return found


def state(worker: Worker) -> Mapping[str, object]:
    """Make the gateway's state for one worker; the application puts it into `scope["state"]`."""
    return {gateway.STATE: EngineSessions(worker), v09.STATE: v09.V09Sessions(worker)}
