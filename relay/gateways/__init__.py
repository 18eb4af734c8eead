"""One module or package per client protocol: a codec and its routes. The session is shared."""

from starlette.routing import BaseRoute

from relay.config import Settings
from relay.gateways import native, socketio


def routes(settings: Settings) -> list[BaseRoute]:
    """The routes of all gateways."""
    return [*native.routes(settings), *socketio.routes(settings)]
