"""The routes of XHR-Signaling on one worker in memory, without a server, and the pages that use them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from starlette.routing import Router

from relay.config import Settings
from relay.gateways.base.forwarding import FORWARDER
from relay.gateways.xhrsignaling.routes import routes, state
from relay.gateways.xhrsignaling.state import STATE, XhrState
from relay.rooms.worker import Worker
from tests.unit.gateways.base.http_fakes import Elsewhere, Request, Response, hold, scope

HOST = "relay.example"
BOUNDARY = "----WebKitFormBoundaryAbCdEf0123456789"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def form(message: str) -> bytes:
    """The body that a browser makes of `formData.append('message', …)`."""
    field = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="message"\r\n\r\n{message}\r\n--{BOUNDARY}--\r\n'
    return field.encode()


class Site:
    """Takes requests."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._state = {"worker": worker, FORWARDER: Elsewhere(), **state(worker)}
        self._router = Router(routes(worker.settings))

    @property
    def state(self) -> XhrState:
        found = self._state[STATE]
        assert isinstance(found, XhrState)
        return found

    def start(
        self,
        target: str,
        message: str = "undefined",
        *,
        method: str = "POST",
        ends_when_answered: bool = False,
        **headers: str,
    ) -> tuple[Request, "asyncio.Task[None]"]:
        """Begin a request."""
        request = Request(form(message))
        fields = {"content-type": FORM, "host": HOST} | {
            name.replace("_", "-"): value for name, value in headers.items() if value
        }
        one = scope(method, target, dict(self._state), fields)
        one["raw_path"] = one["path"].encode()
        if ends_when_answered:
            hold(one, request, ends_when_answered=True)
        return request, asyncio.create_task(self._router(one, request.receive, request.send))

    async def ask(self, target: str, message: str = "undefined", **headers: str) -> Response:
        """Make a request, and wait for its response."""
        request, task = self.start(target, message, **headers)
        async with asyncio.timeout(5):
            await task
        return request.response

    async def peers(self, room: str = "default") -> dict[str, bool]:
        """The members of a room, and whether each is held."""
        return {one.peer: one.held for one in (await self.worker.roster(room)).members}


class Page:
    """A page of the relay's own origin, or of another one, whose browser keeps its cookie.

    Pages of the own origin have a browser each; those of others have the same one.
    """

    def __init__(self, site: Site, path: str = "/Home", *, origin: str = f"http://{HOST}", query: str = "") -> None:
        self.site = site
        self.cookie = ""
        self._origin = origin
        self._path = path
        self._query = query

    async def get(self) -> Any:
        """Poll once; the row that the page sees, or False."""
        return self._read(await self.site.ask(f"{self._path}/GetData{self._query}", **self.headers))

    def start(self, *, ends_when_answered: bool = False) -> tuple[Request, "asyncio.Task[None]"]:
        """Begin a poll; its connection may end when it has an answer, which is not written yet."""
        target = f"{self._path}/GetData{self._query}"
        return self.site.start(target, ends_when_answered=ends_when_answered, **self.headers)

    async def post(self, **envelope: Any) -> Any:
        text = msgspec.json.encode(envelope).decode()
        return self._read(await self.site.ask(f"{self._path}/PostData{self._query}", text, **self.headers))

    @property
    def headers(self) -> dict[str, str]:
        browser = f"browser {id(self)}" if HOST in self._origin else "browser"
        return {"origin": self._origin, "cookie": self.cookie, "user_agent": browser}

    @property
    def peer(self) -> str:
        return self.cookie.partition("=")[2].rpartition(".")[0]

    def _read(self, response: Response) -> Any:
        if "set-cookie" in response.headers:
            self.cookie = response.headers["set-cookie"].partition(";")[0]
        assert response.status == 200, response.body
        return msgspec.json.decode(response.body)


async def answered(request: Request, task: "asyncio.Task[None]") -> Any:
    """Wait for the answer of a poll."""
    async with asyncio.timeout(5):
        await task
    assert request.response.status == 200
    return msgspec.json.decode(request.response.body)


def message(row: Any) -> Any:
    """The envelope in a row."""
    return msgspec.json.decode(row["Message"])


@asynccontextmanager
async def site(**settings: Any) -> AsyncIterator[Site]:
    async with Worker(Settings(default_room="default", **settings)) as worker:
        yield Site(worker)
