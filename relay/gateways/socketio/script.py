"""Redirects pages to the client's script, which a Socket.IO server in Node serves itself: `/socket.io/socket.io.js`."""

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from relay.config import Settings
from relay.gateways.socketio.declaration import NAME
from relay.gateways.socketio.errors import SocketIORefused
from relay.gateways.socketio.settings import SocketIOSettings
from relay.rooms.worker import Worker


def routes(settings: Settings, path: str) -> list[Route]:
    """Make the routes of the script below `path`; 404 `no_client_script` while `socketio-client-url` is not set."""
    url = settings.of(SocketIOSettings).socketio_client_url

    async def redirect(request: Request) -> Response:
        if not url:
            error = SocketIORefused("no_client_script")
            worker: Worker = request.scope["state"]["worker"]
            worker.metrics.of(NAME).refused(error.code)
            headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
            return Response(msgspec.json.encode(error.body), error.status, headers, "application/json")
        # A page that gives the script's digest (`integrity`) loads it by CORS, redirects included.
        return RedirectResponse(url, 302, {"access-control-allow-origin": "*", "x-content-type-options": "nosniff"})

    return [Route(f"{path}/{name}", redirect) for name in ("socket.io.js", "socket.io.min.js")]
