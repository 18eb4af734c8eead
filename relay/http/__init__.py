"""The HTTP edge: health, metrics, rooms, and the OpenAPI document that describes them."""

from collections.abc import Sequence

from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route

from relay.config import Settings
from relay.http.about import ServiceDescription
from relay.http.cors import Cors
from relay.http.health import HealthEndpoint, live
from relay.http.metrics import MetricsEndpoint
from relay.http.not_found import NotFound
from relay.http.ports import AdminPort
from relay.http.responses import exception_handlers
from relay.http.rooms import RoomEndpoint, RoomsEndpoint
from relay.paths import RoomRoute

__all__ = ["NotFound", "exception_handlers", "middleware", "routes"]


def routes(settings: Settings, local_workers: Sequence[str], about: ServiceDescription) -> list[BaseRoute]:
    """Make all HTTP routes; `local_workers` are the unix sockets of the local workers, empty for a single worker."""
    return [
        Route("/", about.service),
        Route("/openapi.json", about.api),
        Route("/health", HealthEndpoint(local_workers).get),
        Route("/health/live", live),
        Route("/metrics", MetricsEndpoint(settings, local_workers).get),
        Route("/rooms", RoomsEndpoint(settings).get),
        RoomRoute(RoomEndpoint(settings).serve, methods=["GET", "POST"]),
    ]


def middleware(settings: Settings, gateway_prefixes: Sequence[str]) -> list[Middleware]:
    """The middleware around all routes of the application, outermost first.

    Below the paths `gateway_prefixes`, the gateways write the CORS headers.
    """
    cors = Middleware(Cors, settings.allowed_origins, gateway_prefixes)
    admin = settings.admin_address
    return [Middleware(AdminPort, port=admin.port), cors] if admin else [cors]
