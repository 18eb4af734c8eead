"""One module per client protocol: a codec and its routes. The session loop is shared."""

from starlette.routing import BaseRoute

from relay.config import Settings
from relay.gateways import native


def routes(settings: Settings) -> list[BaseRoute]:
    """The WebSocket routes of all gateways."""
    return native.routes(settings)
