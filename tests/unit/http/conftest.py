"""The HTTP routes over a fake worker, whose replies a test sets."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from relay import http, pages
from relay.address_rates import RequestRate
from relay.backend.subjects import Place
from relay.config import Settings
from relay.gateways import GATEWAYS
from relay.http.about import ServiceDescription
from relay.identity.admin import AdminToken
from relay.identity.grants import ADMIN, GUEST, Grants
from relay.ids import IdGenerator
from relay.metrics import Metrics
from relay.model.errors import Refused, RelayError
from relay.model.events import Roster
from relay.model.names import SERVER
from relay.model.publication import Receipt
from relay.model.room_list import RoomPage, RoomQuery
from relay.model.rules import RoomRules, RuleChange
from relay.origins import AllowedOrigins
from relay.rooms.composition import ice_offers
from relay.rooms.health import Check, Health
from relay.rooms.ice import IceOffers
from relay.rooms.worker import Worker

READY = Health(
    ready=True,
    worker="w1",
    version="1.2.3",
    build="compiled",
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
    build="compiled",
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


class FakeAuthority:
    """Knows tokens by name, and their grants; a token that it does not know is not valid."""

    def __init__(self, auth: str, known: Mapping[str, Grants]) -> None:
        self.is_off, self.is_required = auth == "off", auth == "required"
        self._known = known

    async def grants(self, token: str | None, address: str) -> Grants | None:
        if token is None and self.is_required:
            raise Refused("token_required")
        if token is not None and token not in self._known:
            raise Refused("bad_token")
        return GUEST if token is None else self._known[token]


@dataclass
class FakeRules:
    """The rules of all rooms, and the commands about members; `failure` is raised if it is set."""

    current: RoomRules = field(default_factory=RoomRules)
    kicked: bool = True
    moved: int = 2
    closed: int = 3
    failure: Exception | None = None
    done: list[tuple[Any, ...]] = field(default_factory=list)

    async def get(self, room: str) -> RoomRules:
        return self.current

    async def change(self, room: str, change: RuleChange, *, create: bool = False, by: str = "") -> RoomRules:
        self._note("change", room, change, create)
        return self.current

    async def kick(
        self, room: str, peer: str = "", *, reason: str = "", ban: float = 0, subject: str = "", by: str = ""
    ) -> bool:
        self._note("kick", room, peer, subject, reason, ban)
        return self.kicked

    async def close(self, room: str, *, reason: str = "") -> int:
        self._note("close", room, reason)
        return self.closed

    async def move(self, room: str, to: str, peers: Sequence[str] | None = None) -> int:
        self._note("move", room, to, peers)
        return self.moved

    def _note(self, *call: Any) -> None:
        if self.failure:
            raise self.failure
        self.done.append(call)


@dataclass
class FakeSubjects:
    """Places of every subject."""

    places: Sequence[tuple[str, str]] = ()

    async def find(self, subject: str, limit: int) -> Sequence[Place]:
        return [Place(*one) for one in self.places[:limit]]


@dataclass
class FakeWorker:
    """The methods of a worker that the edges call; they return the attributes, or raise `failure` if it is set."""

    state: Health = READY
    present: Roster = field(default_factory=lambda: Roster(0))
    listed: Sequence[tuple[str, int]] = ()
    failure: Exception | None = None
    limits: list[int | None] = field(default_factory=list)
    published: list[tuple[str, bytes]] = field(default_factory=list)
    senders: list[str] = field(default_factory=list)
    metrics: Metrics = field(default_factory=Metrics)
    origins: AllowedOrigins = field(default_factory=lambda: AllowedOrigins(["*"]))
    rules: FakeRules = field(default_factory=FakeRules)
    subjects: FakeSubjects = field(default_factory=FakeSubjects)
    charged: list[tuple[str, str, float]] = field(default_factory=list)
    uncounted: set[str] = field(default_factory=set)
    bans: set[tuple[str, str]] = field(default_factory=set)
    queries: list[RoomQuery] = field(default_factory=list)
    missing: str = ""
    requests: RequestRate = field(init=False)
    admin_token: AdminToken = field(init=False)
    authority: FakeAuthority = field(init=False)
    tokens: dict[str, Grants] = field(default_factory=dict)
    ice: IceOffers = field(init=False)
    random: IdGenerator = field(default_factory=IdGenerator)

    identify = Worker.identify
    _is_admin_token = Worker._is_admin_token

    def health(self) -> Health:
        return self.state

    async def roster(self, room: str, limit: int | None = None) -> Roster:
        self._fail()
        self.limits.append(limit)
        return self.present

    def check_unreserved(self, room: str) -> None:
        if room == "reserved":
            raise Refused("bad_room")

    async def list_rooms(self, query: RoomQuery) -> RoomPage:
        self._fail()
        self.queries.append(query)
        found = [one for one in self.listed if one[0].startswith(query.prefix)]
        page = [one for one in found if one[0] > query.after][: query.limit + 1]
        listed = page[: query.limit]
        return RoomPage(listed, listed[-1][0] if len(page) > query.limit else "", len(found), self.missing)

    async def count_room(self, room: str, grants: Grants, address: str) -> None:
        if room in self.uncounted:
            raise Refused("too_many_new_rooms")

    def charge(self, grants: Grants, address: str, messages: float) -> None:
        self.charged.append((grants.subject, address, messages))

    async def publish_to_rooms(
        self, rooms: Sequence[str], envelope: bytes, sender: str = SERVER, **more: Any
    ) -> Sequence[Receipt | RelayError]:
        self._fail()
        outcomes: list[Receipt | RelayError] = []
        for room in rooms:
            try:
                outcomes.append(await self.publish_from_server(room, envelope, sender, **more))
            except Refused as error:
                outcomes.append(error)
        return outcomes

    async def publish_from_server(
        self, room: str, envelope: bytes, sender: str = SERVER, *, grants: Grants = ADMIN, address: str = ""
    ) -> Receipt:
        self._fail()
        self.check_unreserved(room)
        if (room, grants.subject) in self.bans:
            raise Refused("banned")
        self.published.append((room, envelope))
        self.senders.append(sender)
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
        worker.requests = RequestRate(settings.http_rate, time.monotonic)
        worker.admin_token = AdminToken(settings.admin_token, attempts=settings.token_attempts, clock=time.monotonic)
        worker.authority = FakeAuthority(settings.auth, worker.tokens)
        worker.ice = ice_offers(settings, worker.metrics)
        self._app = Starlette(
            routes=[*pages.routes(settings, ABOUT), *http.routes(settings, local_workers, ABOUT)],
            middleware=http.middleware(settings, GATEWAY_PREFIXES, []),
            exception_handlers=http.exception_handlers,
        )
        self._app.router.default = http.NotFound(WEBSOCKETS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "state": {"worker": self.worker}}, receive, send)

    async def request(
        self,
        method: str,
        path: str,
        *,
        host: str = "localhost",
        port: int = 8888,
        client: str = "127.0.0.1",
        **options: Any,
    ) -> httpx.Response:
        """Ask from an address: by default as a program on the relay's machine."""
        transport = httpx.ASGITransport(self, raise_app_exceptions=False, client=(client, 1234))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}:{port}") as client_:
            return await client_.request(method, path, **options)

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
