"""The routes of plain HTTP on one worker in memory, without a server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from starlette.routing import Router

from relay.config import Settings
from relay.gateways.base.forwarding import FORWARDER
from relay.gateways.plainhttp.routes import routes, state
from relay.gateways.plainhttp.state import STATE, HttpState
from relay.rooms.worker import Worker
from tests.unit.gateways.base.http_fakes import Elsewhere, Request, Response, scope

KEY = "0123456789abcdef"
PLACE = f"peer=alice&resume={KEY}"


class Site:
    """Takes requests to a room."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._state = {"worker": worker, FORWARDER: Elsewhere(), **state(worker)}
        self._router = Router(routes(worker.settings))

    @property
    def state(self) -> HttpState:
        found = self._state[STATE]
        assert isinstance(found, HttpState)
        return found

    def start(self, method: str, target: str, body: Any = b"", **headers: str) -> tuple[Request, "asyncio.Task[None]"]:
        """Begin a request to a resource of the room `room`."""
        request = Request(body if isinstance(body, bytes) else msgspec.json.encode(body))
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        one = scope(method, f"/rooms/room/{target}", dict(self._state), fields)
        one["raw_path"] = one["path"].encode()
        return request, asyncio.create_task(self._router(one, request.receive, request.send))

    async def ask(self, method: str, target: str, body: Any = b"", **headers: str) -> Response:
        """Make a request, and wait for its response."""
        request, task = self.start(method, target, body, **headers)
        async with asyncio.timeout(5):
            await task
        return request.response

    async def json(self, method: str, target: str, body: Any = b"") -> Any:
        """Make a request, and return the content of its response."""
        return msgspec.json.decode((await self.ask(method, target, body)).body)

    @asynccontextmanager
    async def stream(self, query: str = PLACE, **headers: str) -> AsyncIterator[Response]:
        """Open a stream, and wait for its welcome."""
        request, task = self.start("GET", f"events?{query}", **headers)
        await request.response.until(b"event: welcome")
        yield request.response
        request.drop()
        await task


@asynccontextmanager
async def site(**settings: Any) -> AsyncIterator[Site]:
    async with Worker(Settings(**settings)) as worker:
        yield Site(worker)
