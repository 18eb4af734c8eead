"""The routes of the gateway on one worker in memory, without a server; and a client that polls."""

import asyncio
import base64
import itertools
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.routing import Router

from relay.config import Settings
from relay.gateways.base.forwarding import FORWARDER
from relay.gateways.firebase.routes import routes, state
from relay.gateways.firebase.state import STATE, FirebaseState
from relay.rooms.worker import Worker
from tests.unit.gateways.base.http_fakes import Elsewhere, Request, Response, scope

HOST = "demo.relay.example:8888"


class Site:
    """Takes requests."""

    def __init__(self, worker: Worker, forwarder: Any = None) -> None:
        self.worker = worker
        self._state = {"worker": worker, FORWARDER: forwarder or Elsewhere(), **state(worker)}
        self._router = Router(routes(worker.settings))

    @property
    def state(self) -> FirebaseState:
        found = self._state[STATE]
        assert isinstance(found, FirebaseState)
        return found

    def start(
        self, method: str, target: str, body: bytes = b"", **headers: str
    ) -> tuple[Request, "asyncio.Task[None]"]:
        """Begin a request."""
        request = Request(body)
        fields = {"host": HOST} | {name.replace("_", "-"): value for name, value in headers.items()}
        one = scope(method, target, dict(self._state), fields)
        one["raw_path"] = one["path"].encode()
        return request, asyncio.create_task(self._router(one, request.receive, request.send))

    async def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> Response:
        """Make a request, and wait for its response."""
        request, task = self.start(method, target, body, **headers)
        async with asyncio.timeout(30):
            await task
        return request.response

    async def value(self, method: str, target: str, value: Any = None, **headers: str) -> Any:
        """Make a request that succeeds, with a value in its body; returns that of its response."""
        body = b"" if method in {"GET", "DELETE"} else json.dumps(value).encode()
        response = await self.ask(method, target, body, **headers)
        assert response.status == 200, response.body
        return json.loads(response.body)

    async def refused(self, method: str, target: str, body: bytes = b"", **headers: str) -> str:
        """Make a request that is refused, and return the code of its response."""
        response = await self.ask(method, target, body, **headers)
        assert response.status >= 400, response.body
        body = json.loads(response.body)
        return str(body["code"] if "code" in body else body["error"]["code"])


@asynccontextmanager
async def site(**settings: Any) -> AsyncIterator[Site]:
    async with Worker(Settings(**settings)) as worker:
        yield Site(worker)


class Poller:
    """A client that polls as the library does: a poll waits, and another one carries messages."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._numbers = itertools.count(1)
        self._segments = itertools.count()
        self._waiting: list[tuple[Request, asyncio.Task[None]]] = []
        self.id = ""
        self.messages: list[Any] = []
        self.answers: list[int] = []
        self.closed = False

    async def begin(self, query: str = "") -> "Poller":
        response = await self._site.ask("GET", f"/.lp?start=t&ser=1&cb=7&v=5{query}")
        assert response.status == 200, response.body
        self._read(response)
        return self

    def poll(self, *messages: Any, size: int = 1840) -> None:
        """Send a poll with these messages, cut into segments; `until` reads its answer."""
        fields: list[str] = []
        for message in messages:
            text = base64.b64encode(json.dumps(message, separators=(",", ":")).encode()).decode()
            text = text.translate(str.maketrans("+/=", "-_."))
            pieces = [text[at : at + size] for at in range(0, len(text), size)]
            for piece in pieces:
                number = len(fields)
                fields.append(f"seg{number}={next(self._segments)}&ts{number}={len(pieces)}&d{number}={piece}")
        self.send("&".join(fields))

    def send(self, query: str) -> None:
        """Send a poll with segments as they are."""
        self._waiting.append(self._site.start("GET", f"/.lp?id={self.id}&pw=-&ser=2&{query}"))

    def request(self, action: str, path: str = "", **body: Any) -> dict[str, Any]:
        """Make a request for `poll`."""
        return {"t": "d", "d": {"r": next(self._numbers), "a": action, "b": {"p": path, **body}}}

    async def ask(self, action: str, path: str = "", **body: Any) -> Any:
        """Send a request, and return the status of its answer."""
        message = self.request(action, path, **body)
        self.poll(message)
        number = message["d"]["r"]

        def found() -> list[Any]:
            return [one["d"]["b"]["s"] for one in self.messages if one["d"].get("r") == number]

        await self.until(found)
        return found()[0]

    async def until(self, condition: Any) -> None:
        """Read answers, and poll, until a condition holds."""
        async with asyncio.timeout(30):
            while not condition():
                if not self._waiting:
                    self.poll()
                await self.next_answer()

    async def next_answer(self) -> Response:
        """Wait for the answer to the oldest poll, and read it."""
        request, task = self._waiting.pop(0)
        async with asyncio.timeout(30):
            await task
        self._read(request.response)
        return request.response

    def drop(self) -> None:
        """Drop all polls."""
        while self._waiting:
            self._waiting.pop()[0].drop()

    def _read(self, response: Response) -> None:
        text = response.body.decode()
        if found := re.search(r"pLPCommand\('start',\"([^\"]+)\"", text):
            self.id = found[1]
        if found := re.search(r"pRTLPCB\((\d+),(\[.*\])\);", text):
            self.answers.append(int(found[1]))
            self.messages += json.loads(found[2])
        self.closed = self.closed or text.endswith("pLPCommand('close');")
