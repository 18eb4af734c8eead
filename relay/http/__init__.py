"""The HTTP edge: health, metrics, rooms, and the OpenAPI document that describes them."""

from collections.abc import Sequence

from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route

from relay.config import Settings
from relay.http.about import ServiceDescription
from relay.http.access import OperatorAccess
from relay.http.control import kick, move
from relay.http.cors import Cors
from relay.http.health import HealthEndpoint, live
from relay.http.metrics import MetricsEndpoint
from relay.http.not_found import NotFound
from relay.http.ports import AdminPort
from relay.http.publishing import PublishEndpoint
from relay.http.rate import LimitedRequests
from relay.http.responses import exception_handlers
from relay.http.rooms import RoomEndpoint, RoomsEndpoint
from relay.http.sockets import SocketRoutes
from relay.http.subjects import SubjectEndpoint
from relay.http.turn import TurnEndpoint
from relay.paths import RoomRoute, SubjectRoute

__all__ = ["NotFound", "SocketRoutes", "exception_handlers", "middleware", "routes"]


def routes(settings: Settings, local_workers: Sequence[str], about: ServiceDescription) -> list[BaseRoute]:
    """Make all HTTP routes; `local_workers` are the unix sockets of the local workers, empty for a single worker."""
    return [
        Route("/", about.service),
        Route("/openapi.json", about.api),
        Route("/health", HealthEndpoint(settings, local_workers).get),
        Route("/health/live", live),
        Route("/metrics", MetricsEndpoint(settings, local_workers).get),
        Route("/turn", TurnEndpoint().get),
        Route("/rooms", RoomsEndpoint().serve, methods=["GET", "POST"]),
        RoomRoute(RoomEndpoint(settings).serve, methods=["GET", "POST", "PUT", "DELETE"]),
        RoomRoute(kick, "/kick", methods=["POST"]),
        RoomRoute(move, "/move", methods=["POST"]),
        SubjectRoute(SubjectEndpoint().get),
        Route("/publish", PublishEndpoint(settings).serve, methods=["POST"]),
    ]


def middleware(
    settings: Settings, gateway_prefixes: Sequence[str], all_routes: Sequence[BaseRoute]
) -> list[Middleware]:
    """The middleware around all routes of the application, outermost first.

    WebSockets leave it for their routes ahead of the parts that only concern HTTP requests.

    Below the paths `gateway_prefixes`, the gateways write the CORS headers, and count requests.
    """
    admin = settings.admin_address
    return [
        *([Middleware(AdminPort, admin)] if admin else []),
        Middleware(SocketRoutes, all_routes),
        Middleware(Cors, settings.allowed_origins, gateway_prefixes),
        Middleware(LimitedRequests, OperatorAccess(settings), gateway_prefixes),
    ]
