"""The application of one worker: its routes, its middleware, and the lifespan that opens the worker."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from relay import gateways, http, pages
from relay.build import show_lines
from relay.config import Settings
from relay.gateways import composition
from relay.gateways.base.forwarded import ForwardedRequests
from relay.gateways.base.forwarding_state import forwarding_state
from relay.http.about import ServiceDescription
from relay.http.proxies import TrustedProxies
from relay.model.workers import LocalWorkers
from relay.rooms.worker import Worker


def create_app(settings: Settings, local: LocalWorkers | None = None) -> Starlette:
    """Make the application of one worker.

    `local` are the workers behind the same port; None for a single worker.
    """
    show_lines()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[Mapping[str, object]]:
        codes, words = gateways.error_codes(settings), gateways.reserved_words()
        async with Worker(settings, codes, local=local, reserved_words=words) as worker:
            app.state.worker = worker
            await worker.wait_until_ready()
            with forwarding_state(worker) as forwarding:
                yield {"worker": worker, **forwarding, **composition.state(worker)}

    about, folder = _about(settings), _folder(settings)
    routes = _routes(settings, local.sockets if local else (), about, folder)
    app = Starlette(
        routes=routes,
        middleware=_middleware(settings, routes),
        exception_handlers=http.exception_handlers,
        lifespan=lifespan,
    )
    # Starlette would redirect /path/ to /path on the host that the request names, which may be any host.
    app.router.redirect_slashes = False
    not_found = http.NotFound(about.websockets)
    app.router.default = folder.ahead_of(not_found) if folder else not_found
    return app


def _about(settings: Settings) -> ServiceDescription:
    enabled = gateways.enabled(settings)
    return ServiceDescription(
        [path for gateway in enabled for path in gateway.websockets],
        gateways.error_tables(),
        "".join([gateway.snippets for gateway in enabled]),
    )


def _folder(settings: Settings) -> pages.StaticFolder | None:
    if not settings.static:
        return None
    return pages.StaticFolder(settings.static, reserved=gateways.reserved_words(), prefixes=_prefixes(settings))


def _prefixes(settings: Settings) -> list[str]:
    return [prefix for gateway in gateways.enabled(settings) for prefix in gateway.prefixes]


def _routes(
    settings: Settings, local_workers: Sequence[str], about: ServiceDescription, folder: pages.StaticFolder | None
) -> list[BaseRoute]:
    routes = [
        *composition.routes(settings),
        *pages.routes(settings, about, folder),
        *http.routes(settings, local_workers, about),
    ]
    return fixed_first(routes)


def fixed_first(routes: Iterable[BaseRoute]) -> list[BaseRoute]:
    """Return routes in their order, but those that begin with a parameter last: they match paths of others as well."""
    return sorted(routes, key=lambda route: getattr(route, "path", "").startswith("/{"))


def _middleware(settings: Settings, routes: Sequence[BaseRoute]) -> list[Middleware]:
    # Outermost is that for forwarded requests, which have their client's address in their seal. Then comes that for
    # proxies, so that everything else sees the address of the client and not that of the load balancer.
    return [
        Middleware(ForwardedRequests),
        Middleware(TrustedProxies, settings.trusted_proxies),
        *http.middleware(settings, _prefixes(settings), routes),
    ]
