"""The application of one worker: its routes, its middleware, and the lifespan that opens the worker."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from relay import gateways, http, pages
from relay.config import Settings
from relay.gateways import composition
from relay.http.about import ServiceDescription
from relay.rooms.worker import Worker


def create_app(settings: Settings, *, local_workers: Sequence[str] = ()) -> Starlette:
    """Make the application of one worker.

    `local_workers` are the unix sockets of all workers behind the same port, also this one; empty for a single worker.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[Mapping[str, object]]:
        async with Worker(settings, gateways.error_codes(settings)) as worker:
            app.state.worker = worker
            await worker.wait_until_ready()
            yield {"worker": worker, **composition.state(worker)}

    enabled = gateways.enabled(settings)
    middleware = list(http.middleware(settings, [prefix for gateway in enabled for prefix in gateway.prefixes]))
    # Outermost, so that everything else sees the address of the client and not that of the load balancer.
    if settings.trusted_proxies:
        middleware.insert(0, Middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies)))
    about = ServiceDescription([path for gateway in enabled for path in gateway.websockets], gateways.error_tables())
    app = Starlette(
        routes=[
            *composition.routes(settings, local_workers),
            *pages.routes(settings, about),
            *http.routes(settings, local_workers, about),
        ],
        middleware=middleware,
        exception_handlers=http.exception_handlers,
        lifespan=lifespan,
    )
    # Starlette would redirect /path/ to /path on the host that the request names, which may be any host.
    app.router.redirect_slashes = False
    return app
