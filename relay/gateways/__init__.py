"""One module or package per client protocol: a codec and its routes. The session is shared."""

from collections.abc import Sequence

from starlette.routing import BaseRoute

from relay.config import Settings
from relay.gateways import socketio
from relay.gateways.native import gateway as native


def routes(settings: Settings, local_workers: Sequence[str]) -> list[BaseRoute]:
    """The routes of all gateways; `local_workers` are the unix sockets of all workers behind the port."""
    return [*native.routes(settings), *socketio.routes(settings, local_workers)]
