"""The application of one worker: its routes, its middleware, and the lifespan that opens the worker."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from relay import gateways, http, pages
from relay.config import Settings
from relay.gateways import composition
from relay.gateways.base.forwarded import ForwardedRequests
from relay.gateways.base.forwarding_state import forwarding_state
from relay.http.about import ServiceDescription
from relay.model.workers import LocalWorkers
from relay.rooms.worker import Worker


def create_app(settings: Settings, local: LocalWorkers | None = None) -> Starlette:
    """Make the application of one worker.

    `local` are the workers behind the same port; None for a single worker.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[Mapping[str, object]]:
        codes, words = gateways.error_codes(settings), gateways.reserved_words()
        async with Worker(settings, codes, local=local, reserved_words=words) as worker:
            app.state.worker = worker
            await worker.wait_until_ready()
            with forwarding_state(worker) as forwarding:
                yield {"worker": worker, **forwarding, **composition.state(worker)}

    enabled = gateways.enabled(settings)
    local_workers = local.sockets if local else ()
    middleware = list(http.middleware(settings, [prefix for gateway in enabled for prefix in gateway.prefixes]))
    # Outermost, so that everything else sees the address of the client and not that of the load balancer.
    if settings.trusted_proxies:
        middleware.insert(0, Middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies)))
    # Outside of that, as a forwarded request has its client's address in its seal.
    middleware.insert(0, Middleware(ForwardedRequests))
    about = ServiceDescription(
        [path for gateway in enabled for path in gateway.websockets],
        gateways.error_tables(),
        "".join([gateway.snippets for gateway in enabled]),
    )
    app = Starlette(
        routes=[
            *composition.routes(settings),
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
