"""The routes of SignalR on one worker in memory, without a server, and a client that polls."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from starlette.routing import Router

from relay.config import Settings
from relay.gateways.base.forwarding import FORWARDER
from relay.gateways.signalr.routes import routes, state
from relay.gateways.signalr.state import STATE, SignalRState
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import AsgiClient, until
from tests.unit.gateways.base.http_fakes import Elsewhere, Request, Response, hold, scope

HANDSHAKE = b'{"protocol":"json","version":1}\x1e'
PACKED_HANDSHAKE = b'{"protocol":"messagepack","version":1}\x1e'


def records(data: bytes) -> list[Any]:
    """The messages of a text in JSON."""
    assert data == b"" or data.endswith(b"\x1e")
    return [json.loads(record) for record in data.split(b"\x1e")[:-1]]


class SignalRSite:
    """Takes requests to a room."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._state = {"worker": worker, FORWARDER: Elsewhere(), **state(worker)}
        self._router = Router(routes(worker.settings))

    @property
    def state(self) -> SignalRState:
        found = self._state[STATE]
        assert isinstance(found, SignalRState)
        return found

    def start(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        complete: bool = True,
        ends_when_answered: bool = False,
        **headers: str,
    ) -> tuple[Request, "asyncio.Task[None]"]:
        request = Request(body, complete=complete)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        one = scope(method, f"/rooms/room/signalr{target}", dict(self._state), fields)
        one["raw_path"] = one["path"].encode()
        if ends_when_answered:
            hold(one, request, ends_when_answered=True)
        return request, asyncio.create_task(self._router(one, request.receive, request.send))

    async def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> Response:
        """Make a request, and wait for its response."""
        request, task = self.start(method, target, body, **headers)
        async with asyncio.timeout(5):
            await task
        return request.response

    async def negotiate(self, query: str = "negotiateVersion=1", **headers: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((await self.ask("POST", f"/negotiate?{query}", **headers)).body)
        return found

    def socket(self, query: str = "", **fields: Any) -> AsgiClient:
        """A WebSocket that is to be opened by `run`."""
        client = AsgiClient(self.worker, f"/rooms/room/signalr?{query}", **fields)
        client.scope["state"] = dict(self._state)
        return client

    def run(self, client: AsgiClient) -> "asyncio.Task[None]":
        return asyncio.create_task(self._router(client.scope, client.receive, client.send))

    async def poller(self, query: str = "", **headers: str) -> "Poller":
        """A client that polls, and has shaken hands."""
        token = (await self.negotiate(f"negotiateVersion=1&{query}", **headers))["connectionToken"]
        poller = Poller(self, f"?{query}&{urlencode({'id': token})}", headers)
        first = await poller.poll()
        assert (first.status, first.body) == (200, b"")
        await poller.post(HANDSHAKE)
        assert records((await poller.poll()).body)[0] == {}
        return poller


class Poller:
    """A connection over long polling."""

    def __init__(self, site: SignalRSite, target: str, headers: dict[str, str]) -> None:
        self._site = site
        self.target = target
        self._headers = headers

    async def poll(self) -> Response:
        return await self._site.ask("GET", self.target, **self._headers)

    async def post(self, body: bytes) -> Response:
        return await self._site.ask("POST", self.target, body, **self._headers)

    async def say(self, **message: Any) -> Response:
        return await self.post(json.dumps(message).encode() + b"\x1e")

    async def next(self) -> Any:
        """The first message of the next answer."""
        return records((await self.poll()).body)[0]


def sent(client: AsgiClient) -> bytes:
    """All that was sent to a WebSocket."""
    pieces = [one for one in client.sent if one["type"] == "websocket.send"]
    return b"".join([one["text"].encode() if one.get("text") else one["bytes"] for one in pieces])


def say(client: AsgiClient, data: bytes) -> None:
    client.from_client.put_nowait({"type": "websocket.receive", "text": data.decode(), "bytes": None})


async def until_sent(client: AsgiClient, text: bytes) -> None:
    await until(lambda: text in sent(client))


@asynccontextmanager
async def site(**settings: Any) -> AsyncIterator[SignalRSite]:
    async with Worker(Settings(**settings)) as worker:
        yield SignalRSite(worker)
