"""One module or package per client protocol: a codec and its routes. The session is shared."""

from collections.abc import Sequence

from starlette.routing import BaseRoute

from relay.config import Settings
from relay.gateways import native, socketio


def routes(settings: Settings, siblings: Sequence[str]) -> list[BaseRoute]:
    """The routes of all gateways; `siblings` are the unix sockets of all workers behind the port."""
    return [*native.routes(settings), *socketio.routes(settings, siblings)]
