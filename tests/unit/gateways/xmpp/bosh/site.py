"""The route of BOSH on one worker in memory, without a server, and a client that makes each request by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

from starlette.routing import Router

from relay.config import Settings
from relay.gateways.base.forwarding import FORWARDER
from relay.gateways.base.http_sessions import HttpSessions
from relay.gateways.xmpp.bosh.gateway import STATE
from relay.gateways.xmpp.bosh.session import BoshSession
from relay.gateways.xmpp.reading import Element, read
from relay.gateways.xmpp.routes import routes, state
from relay.rooms.worker import Worker
from tests.unit.gateways.base.http_fakes import Elsewhere, Request, Response, scope
from tests.unit.gateways.xmpp.streams import BIND, auth, presence

NAMES = 'xmlns="http://jabber.org/protocol/httpbind" xmlns:xmpp="urn:xmpp:xbosh"'
RESTART = 'xmpp:restart="true" to="localhost"'

Pending = tuple[Request, "asyncio.Task[None]"]


class Site:
    """Takes requests."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._state = {"worker": worker, FORWARDER: Elsewhere(), **state(worker)}
        self._router = Router(routes(worker.settings))

    @property
    def sessions(self) -> HttpSessions[BoshSession]:
        found = self._state[STATE]
        assert isinstance(found, HttpSessions)
        return found

    def start(self, body: str, method: str = "POST") -> Pending:
        """Begin a request."""
        request = Request(body.encode())
        one = scope(method, "/http-bind", dict(self._state), {"content-type": "text/xml; charset=utf-8"})
        one["raw_path"] = one["path"].encode()
        return request, asyncio.create_task(self._router(one, request.receive, request.send))

    async def ask(self, body: str, method: str = "POST") -> Response:
        """Make a request, and wait for its response."""
        return await response(self.start(body, method))

    async def peers(self) -> list[str]:
        """The members of the room."""
        return sorted(one.peer for one in (await self.worker.roster("room")).members)


async def response(pending: Pending) -> Response:
    """Wait for a response."""
    async with asyncio.timeout(10):
        await pending[1]
    return pending[0].response


async def answer(pending: Pending) -> Element:
    """Wait for the element of a response."""
    return read((await response(pending)).body).root


class Client:
    """A client with the first request id 100; `sid` is "" until it has begun."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.sid = ""
        self.rid = 100
        self.greeting: Element | None = None

    def body(self, content: str = "", attributes: str = "", *, rid: int = 0) -> str:
        """A request; without a `rid`, the next one."""
        if not rid:
            rid, self.rid = self.rid, self.rid + 1
        sid = f'sid="{self.sid}"' if self.sid else ""
        return f'<body rid="{rid}" {sid} {NAMES} {attributes}>{content}</body>'

    def start(self, content: str = "", attributes: str = "", *, rid: int = 0) -> Pending:
        """Begin a request; without a `rid`, the next one."""
        return self.site.start(self.body(content, attributes, rid=rid))

    async def ask(self, content: str = "", attributes: str = "", *, rid: int = 0) -> Element:
        """Make a request, and wait for the element of its response."""
        return await answer(self.start(content, attributes, rid=rid))

    async def begin(self, attributes: str = 'wait="5" hold="1"') -> Self:
        """Begin a session."""
        self.greeting = await self.ask("", f'to="localhost" ver="1.6" {attributes}')
        self.sid = self.greeting.get("sid")
        return self

    async def log_in(self, attributes: str = 'wait="5" hold="1"') -> Self:
        """Begin a session, and bind a resource."""
        await self.begin(attributes)
        assert (await self.ask(auth("ANONYMOUS"))).children[0].name == "success"
        await self.ask("", RESTART)
        assert (await self.ask(BIND)).children[0].name == "iq"
        return self

    async def enter(self, nick: str) -> Self:
        """Log in, and enter the room."""
        await self.log_in()
        found = await self.until("subject", presence(nick))
        assert found
        return self

    async def until(self, name: str, content: str = "") -> list[Element]:
        """Send elements, and poll until a child of an element has this name."""
        found: list[Element] = []
        while not any(name in {one.name, *(child.name for child in one.all())} for one in found):
            found += (await self.ask(content)).children
            content = ""
        return found


@asynccontextmanager
async def site(**settings: Any) -> AsyncIterator[Site]:
    async with Worker(Settings(**settings)) as worker:
        yield Site(worker)
