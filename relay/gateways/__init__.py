"""Gateways: how clients of each protocol reach the relay.

A gateway is a package with a codec (frames to commands, and events to frames), its routes, and the transports that its
protocol has beside WebSocket. `base` has their common parts, above all the session. No gateway imports another, and
rooms know none of them: the members of one room may speak different protocols.
"""

from collections.abc import Mapping, Sequence

from starlette.routing import BaseRoute

from relay.config import Settings
from relay.gateways import socketio
from relay.gateways.native import gateway as native
from relay.rooms.worker import Worker


def routes(settings: Settings, local_workers: Sequence[str]) -> list[BaseRoute]:
    """Return the routes of all gateways.

    `local_workers` are the paths of the unix sockets of all workers behind the same port, for gateways whose HTTP
    requests may reach another worker than the one that has the session; empty if there is only one.
    """
    return [*native.routes(settings), *socketio.routes(settings, local_workers)]


def state(worker: Worker) -> Mapping[str, object]:
    """Make the state that the gateways keep for one worker; their routes find it in `scope["state"]`."""
    return socketio.state(worker)
