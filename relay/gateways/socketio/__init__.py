"""Socket.IO clients, of versions 1 to 4, over WebSocket and long polling, in the same rooms as everybody else.

The protocols are our own code, without input or output, and not python-engineio and python-socketio: these speak only
Engine.IO 4, encode a message anew for every receiver, and cost 110 to 2,083 microseconds for a delivery through Redis
where Node's Socket.IO takes 22 to 84 and this gateway makes one frame for all of a room.

`packets`, `parser` and `encoders` read and write Engine.IO and Socket.IO, `codec` puts events into envelopes and back,
`engine` and `polling` keep sessions, `client` and `namespaces` what a client is in, `gateway` and `requests` serve
requests; `v09` is version 0.9, and `script` knows where the client itself is.
"""

import re
from collections.abc import Sequence

from starlette.routing import BaseRoute, Route, WebSocketRoute

from relay.config import Settings
from relay.gateways.socketio import script
from relay.gateways.socketio.forwarding import Forwarder
from relay.gateways.socketio.gateway import SocketIOGateway
from relay.gateways.socketio.v09.gateway import V09Gateway

PATH = "/socket.io"


def routes(settings: Settings, local_workers: Sequence[str]) -> list[BaseRoute]:
    """Make the routes of the gateway; clients may leave out the slash at the end.

    `local_workers` are the unix sockets of all workers behind the port, none when it is alone.
    """
    found: list[BaseRoute] = [*script.routes(settings, PATH)]
    others = Forwarder(local_workers)
    for gateway, pattern in (
        (SocketIOGateway(settings, others), r"/?\Z"),
        (V09Gateway(settings, others), r"/1(/.*)?\Z"),
    ):
        for route in (Route(PATH, gateway), WebSocketRoute(PATH, gateway)):
            route.path_regex = re.compile(re.escape(PATH) + pattern)
            found.append(route)
    return found
