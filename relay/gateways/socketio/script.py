"""Where pages that had a Node server for Socket.IO find the client's script: such a server serves it by itself."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from relay.config import Settings
from relay.model.errors import Refused


def routes(settings: Settings, path: str) -> list[Route]:
    """Make the routes that send pages on to where the operator has it; they raise `Refused` where that is nowhere."""

    async def send_on(_: Request) -> Response:
        if not settings.socketio_client_url:
            raise Refused("no_client_script")
        # Pages that check it against a digest ask as from another origin.
        return RedirectResponse(settings.socketio_client_url, 302, {"access-control-allow-origin": "*"})

    return [Route(f"{path}/{name}", send_on) for name in ("socket.io.js", "socket.io.min.js")]
