"""One module or package per client protocol: a codec and its routes. The session is shared."""

from collections.abc import Mapping, Sequence

from starlette.routing import BaseRoute

from relay.config import Settings
from relay.gateways import socketio
from relay.gateways.native import gateway as native
from relay.rooms.worker import Worker


def routes(settings: Settings, local_workers: Sequence[str]) -> list[BaseRoute]:
    """The routes of all gateways; `local_workers` are the unix sockets of all workers behind the port."""
    return [*native.routes(settings), *socketio.routes(settings, local_workers)]


def state(worker: Worker) -> Mapping[str, object]:
    """Make what the gateways keep for one worker; their routes find it in `scope["state"]`."""
    return socketio.state(worker)
