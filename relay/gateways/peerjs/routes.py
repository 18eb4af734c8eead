"""The routes of the gateway, and its state for each worker.

PeerJS puts the socket and the HTTP requests below the path that the page names. With the path `/`, the socket is at
`/peerjs`, and requests are below the key. The path `/peerjs` leads to the same rooms: it is frequent in code that
exists.
"""

from collections.abc import Mapping

from starlette.routing import BaseRoute, Route, WebSocketRoute

from relay.config import Settings
from relay.gateways.peerjs.declaration import NAME
from relay.gateways.peerjs.gateway import STATE, PeerJSGateway
from relay.gateways.peerjs.guesses import WrongTokens
from relay.paths import RoomRoute, RoomWebSocketRoute
from relay.rooms.worker import Worker


def routes(settings: Settings) -> list[BaseRoute]:
    """Make the routes of the gateway."""
    gateway = PeerJSGateway(settings)
    return [
        WebSocketRoute(f"/{NAME}", gateway),
        WebSocketRoute(f"/{NAME}/{NAME}", gateway),
        RoomWebSocketRoute(gateway, f"/{NAME}"),
        *(Route(path, gateway) for path in (f"/{NAME}", f"/{NAME}/")),
        *(Route(f"/{NAME}/{{key}}/{last}", gateway) for last in ("id", "peers")),
        *(RoomRoute(gateway, f"/{{key}}/{last}") for last in ("id", "peers")),
        *(Route(f"/{{key}}/{last}", gateway) for last in ("id", "peers")),
        # PeerJS 0.3 posts to these beside its socket. It needs an answer that it may read, and 404 is one.
        Route(f"/{NAME}/{{peer}}/{{token}}/{{action}}", gateway),
        Route(f"/{NAME}/{NAME}/{{peer}}/{{token}}/{{action}}", gateway),
        RoomRoute(gateway, f"/{NAME}/{{peer}}/{{token}}/{{action}}"),
    ]


def state(worker: Worker) -> Mapping[str, object]:
    """Make the gateway's state for one worker."""
    return {STATE: WrongTokens(worker.settings, worker.clock)}
