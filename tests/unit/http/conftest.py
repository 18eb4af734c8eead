"""The HTTP routes over a fake worker, whose replies a test sets."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from relay import http, pages
from relay.config import Settings
from relay.gateways import GATEWAYS
from relay.http.about import ServiceDescription
from relay.metrics import Metrics
from relay.model.envelope import Receipt
from relay.model.events import Roster
from relay.origins import AllowedOrigins
from relay.rooms.health import Check, Health

READY = Health(
    ready=True,
    worker="w1",
    version="1.2.3",
    uptime=12.34567,
    rooms=2,
    connections=3,
    draining=False,
    checks={"redis": Check(ok=True, text="answers"), "subscription": Check(ok=True, text="heard", seconds=0.12345)},
)
DEAF = Health(
    ready=False,
    worker="w2",
    version="1.2.3",
    uptime=1,
    rooms=0,
    connections=1,
    draining=True,
    checks={"subscription": Check(ok=False, text="not heard for 9 s", seconds=9)},
)

GATEWAY_PREFIXES = ("/gateway",)
WEBSOCKETS = ["/", "/rooms/{room}"]
GATEWAY_ERRORS = {"A protocol": {"bad_greeting": (400, "The client does not greet.")}}
SNIPPETS = "".join(gateway.snippets for gateway in GATEWAYS.values())
ABOUT = ServiceDescription(WEBSOCKETS, GATEWAY_ERRORS, SNIPPETS)


@dataclass
class FakeWorker:
    """The methods of a worker that the edges call; they return the attributes, or raise `failure` if it is set."""

    state: Health = READY
    present: Roster = field(default_factory=lambda: Roster(0))
    listed: Sequence[tuple[str, int]] = ()
    failure: Exception | None = None
    limits: list[int | None] = field(default_factory=list)
    published: list[tuple[str, bytes]] = field(default_factory=list)
    metrics: Metrics = field(default_factory=Metrics)
    origins: AllowedOrigins = field(default_factory=lambda: AllowedOrigins(["*"]))

    def health(self) -> Health:
        return self.state

    async def roster(self, room: str, limit: int | None = None) -> Roster:
        self._fail()
        self.limits.append(limit)
        return self.present

    async def rooms(self) -> Sequence[tuple[str, int]]:
        self._fail()
        return self.listed

    async def publish_from_server(self, room: str, envelope: bytes) -> Receipt:
        self._fail()
        self.published.append((room, envelope))
        return Receipt(b"7-%d" % len(self.published))

    def refused(self, code: str) -> float:
        """How often an error of this code was counted."""
        return self.metrics.registry.get_sample_value("relay_errors_total", {"protocol": "api", "code": code}) or 0

    def _fail(self) -> None:
        if self.failure:
            raise self.failure


class Site:
    """The application, called directly instead of by a server."""

    def __init__(self, settings: Settings, worker: FakeWorker, local_workers: Sequence[str]) -> None:
        self.worker = worker
        worker.origins = AllowedOrigins(settings.allowed_origins)
        self._app = Starlette(
            routes=[*pages.routes(settings, ABOUT), *http.routes(settings, local_workers, ABOUT)],
            middleware=http.middleware(settings, GATEWAY_PREFIXES),
            exception_handlers=http.exception_handlers,
        )
        self._app.router.default = http.NotFound(WEBSOCKETS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "state": {"worker": self.worker}}, receive, send)

    async def request(self, method: str, path: str, *, port: int = 8888, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://relay:{port}") as client:
            return await client.request(method, path, **options)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.request("GET", path, **options)

    async def get_path(self, path: str, query: bytes = b"") -> httpx.Response:
        """GET a path (as a server has decoded it) and a query that no client library would send."""
        sent: list[Any] = []
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "headers": [],
            "server": ("127.0.0.1", 8888),
        }

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self(scope, receive, send)
        return httpx.Response(sent[0]["status"], headers=sent[0]["headers"], content=sent[1]["body"])


MakeSite = Callable[..., Site]


@pytest.fixture
def site() -> MakeSite:
    def make(*, worker: FakeWorker | None = None, local_workers: Sequence[str] = (), **settings: Any) -> Site:
        return Site(Settings(**settings), worker or FakeWorker(), local_workers)

    return make


ServeRaw = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture
def serve_raw(tmp_path: Path) -> ServeRaw:
    """Serve the same bytes to every client of a unix socket; `hold` keeps the connection open afterwards."""

    @asynccontextmanager
    async def serve(answer: bytes, *, name: str = "worker", hold: bool = False) -> AsyncIterator[str]:
        done = asyncio.Event()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            if hold:
                await done.wait()
            writer.close()

        path = str(tmp_path / name)
        server = await asyncio.start_unix_server(handle, path)
        try:
            yield path
        finally:
            done.set()
            server.close()
            await server.wait_closed()

    return serve


def response(body: bytes, status: str = "200 OK") -> bytes:
    """An HTTP response as the server of a worker writes it."""
    return b"HTTP/1.1 %s\r\nserver: x\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """Return status and code of an error, and check its format."""
    error = answer.json()["error"]
    assert isinstance(error["text"], str)
    assert error["text"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    return answer.status_code, error["code"]
