"""`/healthcheck`: the path by which the load balancers of a SignalMaster ask for its health."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.gateways.socketio.declaration import HEALTHCHECK
from relay.rooms.worker import Worker

_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def route() -> Route:
    """Make the route."""
    return Route(HEALTHCHECK, _answer)


async def _answer(request: Request) -> Response:
    """Answer 200 without a body, or 503 from a worker to which no clients should be sent: it would refuse them."""
    worker: Worker = request.scope["state"]["worker"]
    return Response(status_code=200 if worker.ready else 503, headers=_HEADERS)
