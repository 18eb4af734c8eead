"""The routes of SignalR 2.x on one worker in memory, without a server."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from starlette.routing import Router

from relay.config import Settings
from relay.gateways.base.cursor_polls import CursorSession
from relay.gateways.base.forwarding import FORWARDER
from relay.gateways.signalrclassic.routes import routes, state
from relay.gateways.signalrclassic.state import STATE, ClassicState
from relay.rooms.worker import Worker
from tests.unit.gateways.base.http_fakes import Elsewhere, Request, Response, scope

DATA = '[{"name":"webrtchub3"}]'


def call(text: str, number: int = 0, **more: Any) -> str:
    return json.dumps({"H": "webrtchub3", "M": "Send", "A": [text], "I": number, **more})


class Site:
    """Takes requests to the room `room`."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._state = {"worker": worker, FORWARDER: Elsewhere(), **state(worker)}
        self._router = Router(routes(worker.settings))

    @property
    def state(self) -> ClassicState:
        found = self._state[STATE]
        assert isinstance(found, ClassicState)
        return found

    def start(
        self, method: str, target: str, body: bytes = b"", **headers: str
    ) -> tuple[Request, "asyncio.Task[None]"]:
        """Begin a request to a path below `/signalr` of the room, or to one that begins with a slash."""
        request = Request(body)
        one = scope(method, target if target.startswith("/") else f"/rooms/room/signalr/{target}", dict(self._state))
        one["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]
        one["raw_path"] = one["path"].encode()
        return request, asyncio.create_task(self._router(one, request.receive, request.send))

    async def ask(self, method: str, target: str, form: Mapping[str, str] | None = None, **headers: str) -> Response:
        """Make a request, and wait for its response."""
        request, task = self.start(method, target, urlencode(form or {}).encode(), **headers)
        async with asyncio.timeout(5):
            await task
        return request.response

    async def json(self, method: str, target: str, form: Mapping[str, str] | None = None) -> Any:
        """Make a request, and return the content of its response."""
        return json.loads((await self.ask(method, target, form)).body)

    async def page(self, transport: str = "longPolling", data: str = DATA) -> "Page":
        """Negotiate."""
        query = f"clientProtocol=2.1&connectionData={quote(data)}"
        fields = await self.json("GET", f"negotiate?{query}")
        return Page(self, transport, fields["ConnectionId"], f"{query}&connectionToken={fields['ConnectionToken']}")


@dataclass
class Page:
    """A client that has negotiated."""

    site: Site
    transport: str
    peer: str
    query: str

    def target(self, action: str, **more: str) -> str:
        return f"{action}?transport={self.transport}&{self.query}&{urlencode(more)}"

    async def ask(self, action: str, method: str = "POST", **form: str) -> Any:
        return await self.site.json(method, self.target(action), form)

    async def session(self) -> CursorSession:
        """The session of a client that polls."""
        [token] = [part.partition("=")[2] for part in self.query.split("&") if part.startswith("connectionToken")]
        found = self.site.state.polls.get(f"room {self.peer} {token.partition('.')[0]}")
        assert found is not None
        return found


@asynccontextmanager
async def site(**settings: Any) -> AsyncIterator[Site]:
    async with Worker(Settings(**settings)) as worker:
        yield Site(worker)
