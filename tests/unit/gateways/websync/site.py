"""The routes of WebSync on one worker in memory, without a server, and the pages that use them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.routing import Router

from relay.config import Settings
from relay.gateways.base.forwarding import FORWARDER
from relay.gateways.websync.routes import routes, state
from relay.gateways.websync.state import STATE, WebSyncState
from relay.rooms.worker import Worker
from tests.gateways.drivers.websync import CHANNEL, SUBSCRIBERS, written
from tests.unit.gateways.base.http_fakes import Elsewhere, Request, Response, scope


class Site:
    """Takes requests."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._state = {"worker": worker, FORWARDER: Elsewhere(), **state(worker)}
        self._router = Router(routes(worker.settings))

    @property
    def state(self) -> WebSyncState:
        found = self._state[STATE]
        assert isinstance(found, WebSyncState)
        return found

    def start(
        self, body: bytes, query: str = "", path: str = "/websync.ashx", *, method: str = "POST", **headers: str
    ) -> tuple[Request, "asyncio.Task[None]"]:
        """Begin a request."""
        request = Request(body)
        fields = {"content-type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
        one = scope(method, f"{path}?token=5&src=js{query}", dict(self._state), fields)
        one["raw_path"] = one["path"].encode()
        return request, asyncio.create_task(self._router(one, request.receive, request.send))

    async def ask(self, body: bytes, *arguments: str, **headers: str) -> Response:
        """Make a request, and wait for its response."""
        request, task = self.start(body, *arguments, **headers)
        async with asyncio.timeout(10):
            await task
        return request.response

    async def peers(self, room: str = "default") -> dict[str, bool]:
        """The members of a room, and whether each is held."""
        return {one.peer: one.held for one in (await self.worker.roster(room)).members}


class Page:
    """A page; `fields` are those that its messages have beside the usual ones."""

    def __init__(self, site: Site, path: str = "/websync.ashx", query: str = "") -> None:
        self.site = site
        self._to = (query, path)
        self.client = self.session = ""
        self.counter = 0

    def message(self, channel: str, *, ext: Any = None, **fields: Any) -> dict[str, Any]:
        self.counter += 1
        known = {"clientId": self.client, "ext": {**(ext or {}), "fm.sessionId": self.session}} if self.client else {}
        return {"channel": channel, "id": str(self.counter), **known, **fields}

    async def send(self, *messages: dict[str, Any]) -> list[dict[str, Any]]:
        """Send messages; returns the replies."""
        response = await self.site.ask(written([*messages]), *self._to)
        replies: list[dict[str, Any]] = json.loads(response.body)
        return replies

    async def handshake(self, before: "Page | None" = None, **ext: Any) -> dict[str, Any]:
        """Send a handshake, as the page that was `before`."""
        known = {"fm.lcid": before.client, "fm.lsid": before.session} if before else {}
        self.client = self.session = ""
        message = self.message("/meta/handshake", supportedConnectionTypes=["websocket", "long-polling"])
        message["ext"] = {**known, **ext}
        [reply] = await self.send(message)
        if reply["successful"]:
            self.client, self.session = reply["clientId"], reply["ext"]["fm.sessionId"]
        return reply

    def binding(self, user: str = "7", channel: str = CHANNEL) -> dict[str, Any]:
        return self.message("/meta/bind", binding=[{"key": f"fm.chat.userId{channel}", "value": user}])

    async def join(self, user: str = "7", before: "Page | None" = None) -> dict[str, Any]:
        """Enter, and join the shared channel; returns the reply to the subscription."""
        assert (await self.handshake(before))["successful"]
        channels = [CHANNEL, SUBSCRIBERS]
        subscribe = self.message("/meta/subscribe", subscription=channels, ext={"fm.tag": ""})
        bound, subscribed = await self.send(self.binding(user), subscribe)
        assert bound["successful"]
        assert subscribed["successful"]
        return subscribed

    def connect(self, *, acknowledges: bool = False, **fields: Any) -> dict[str, Any]:
        return self.message("/meta/connect", connectionType="long-polling", ext={"fm.ack": acknowledges}, **fields)

    def start(self, message: dict[str, Any]) -> tuple[Request, "asyncio.Task[None]"]:
        """Begin a request of one message."""
        return self.site.start(written([message]), *self._to)

    async def hear(self, *, acknowledges: bool = True) -> list[dict[str, Any]]:
        """Connect once; the deliveries."""
        return await self.send(self.connect(acknowledges=acknowledges))

    async def publish(self, data: Any, channel: str = CHANNEL, **fields: Any) -> dict[str, Any]:
        [reply] = await self.send(self.message(channel, data=data, **fields))
        return reply


def seed(message: Any, channel: Any = "c", username: Any = 5) -> dict[str, Any]:
    """The data of a page of the seed's kind."""
    return {"username": username, "text": json.dumps({"message": message, "channel": channel})}


def jsonp(callback: str, messages: list[dict[str, Any]]) -> str:
    """The query of a request by JSONP."""
    headers = quote('{"Content-Type":"application/json"}')
    return f"&method=POST&headers={headers}&jsonp={callback}&_cb=1&content={quote(written(messages))}"


async def answered(request: Request, task: "asyncio.Task[None]") -> Any:
    """Wait for the answer of a connect."""
    async with asyncio.timeout(10):
        await task
    return msgspec.json.decode(request.response.body)


@asynccontextmanager
async def site(**settings: Any) -> AsyncIterator[Site]:
    async with Worker(Settings(default_room="default", **settings)) as worker:
        yield Site(worker)
