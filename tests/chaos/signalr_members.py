"""Members that speak SignalR 2.x: pages over each of its transports, which reconnect to the next worker."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx2 as httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from relay.client import Envelope, NotAcknowledged
from relay.model.envelope import BEFORE_ALL
from tests.chaos.reference import RunningMember
from tests.gateways.drivers.plain_http import EventStream
from tests.gateways.drivers.wires import Ended

TRANSPORTS: Final = {
    "signalr-websocket": "webSockets",
    "signalr-events": "serverSentEvents",
    "signalr-polling": "longPolling",
}
"""The kinds of members."""

_HUB: Final = "webrtchub3"
_PAUSE: Final = 0.5
_ECHO: Final = 3.0
"""Seconds in which a page that has come back hears its own message, if it was sent before."""
_SILENCE: Final = 20.0
_LOSSES: Final = (OSError, TimeoutError, InvalidHandshake, ConnectionClosed, Ended, httpx.TransportError)


class SignalRMember(RunningMember):
    """A page; it sees no members, and no id of a single message.

    The protocol has no keys. A call without an answer is made again only if the page, which hears its own messages,
    does not find it among those that it gets when it is back.
    """

    def __init__(self, urls: Sequence[str], room: str, peer: str, *, slow: float, transport: str) -> None:
        super().__init__()
        self.members = None
        self._urls = [url.replace("ws:", "http:") + f"/rooms/{room}/signalr" for url in urls]
        self._peer, self._slow, self._transport = peer, slow, transport
        self._turn, self._numbers = 0, itertools.count()
        self._token = self._cursor = ""
        self._http = httpx.AsyncClient(timeout=httpx.Timeout(slow, read=_SILENCE + 10))
        self._socket: ClientConnection | None = None
        self._stream: EventStream | None = None
        self._polling: asyncio.Task[Any] | None = None
        self._sending = asyncio.Lock()
        self._connected = asyncio.Event()
        self._results: dict[str, asyncio.Future[str]] = {}
        self._own: dict[int, asyncio.Event] = {}

    async def _close(self) -> None:
        self.drop()
        await self._http.aclose()

    async def send(self, envelope: dict[str, Any], *, timeout: float) -> None:
        heard = self._own[envelope["number"]] = asyncio.Event()
        try:
            async with asyncio.timeout(timeout), self._sending:
                while not self._left:
                    if await self._try(envelope, heard):
                        return
                    await asyncio.sleep(_PAUSE)
        except TimeoutError:
            pass
        raise NotAcknowledged(possibly_sent=True)

    def drop(self) -> None:
        if self._socket is not None:
            self._socket.transport.abort()
        if self._stream is not None:
            self._stream.abort()
        if self._polling is not None:
            self._polling.cancel()

    async def leave(self) -> None:
        self._left = True
        with contextlib.suppress(httpx.TransportError):
            await self._http.post(self._path("abort"))

    # Calls.

    async def _try(self, envelope: dict[str, Any], heard: asyncio.Event) -> bool:
        await self._connected.wait()
        number = str(next(self._numbers))
        call = {"H": _HUB, "M": "Send", "A": [json.dumps(envelope)], "I": number}
        outcome = ""
        with contextlib.suppress(*_LOSSES):
            outcome = await self._call(number, json.dumps(call))
        if outcome not in {"", "outcome_unknown"}:
            # Any other error says that nothing was sent.
            return outcome == "done"
        await self._connected.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(heard.wait(), _ECHO)
        return heard.is_set()

    async def _call(self, number: str, text: str) -> str:
        """Make a call; "done", or the code of its error."""
        if self._transport == "webSockets":
            assert self._socket is not None
            self._results[number] = result = asyncio.get_running_loop().create_future()
            try:
                await self._socket.send(text)
                return await asyncio.wait_for(result, self._slow)
            finally:
                del self._results[number]
        answer = await self._http.post(self._path("send"), data={"data": text})
        if answer.status_code != 200:
            return str(answer.json()["error"]["code"])
        return _outcome(answer.json())

    # Listening.

    async def _run(self) -> None:
        while not self._left:
            with contextlib.suppress(*_LOSSES):
                await self._stay()
            self._connected.clear()
            for result in self._results.values():
                if not result.done():
                    result.set_result("")
            self.drop()
            self._turn += 1
            await asyncio.sleep(_PAUSE)

    async def _stay(self) -> None:
        if not self._token:
            async with asyncio.timeout(self._slow):
                answer = await self._http.get(self._path("negotiate", peer=self._peer, clientProtocol="2.1"))
            if answer.status_code != 200:
                return
            self._token = answer.json()["ConnectionToken"]
        first = not self.welcomes
        async for fields in self._frames("connect" if first else "reconnect"):
            if "E" in fields and "M" in fields:
                self._left = True
                self.on_end(0, left=False)
                return
            if not self._connected.is_set() and "C" in fields:
                self.welcomes += 1
                self._connected.set()
            self._take(fields)

    async def _frames(self, action: str) -> AsyncIterator[dict[str, Any]]:
        path = self._path(action, messageId=self._cursor)
        if self._transport == "webSockets":
            async with asyncio.timeout(self._slow):
                self._socket = await connect(
                    path.replace("http:", "ws:"), compression=None, ping_interval=None, proxy=None, max_size=None
                )
            while True:
                yield json.loads(await asyncio.wait_for(self._socket.recv(), _SILENCE))
        if self._transport == "serverSentEvents":
            address = urlsplit(path)
            assert address.port is not None
            async with asyncio.timeout(self._slow):
                self._stream = await EventStream.open(address.port, f"{address.path}?{address.query}")
            while self._stream.status == 200:
                _, fields = await asyncio.wait_for(self._stream.next(plain="initialized"), _SILENCE)
                if isinstance(fields, dict):
                    yield fields
            return
        while True:
            self._polling = asyncio.create_task(self._poll(action))
            await asyncio.wait([self._polling])
            if self._polling.cancelled() or not (fields := self._polling.result()):
                return
            yield fields
            if "T" in fields:
                return
            action = "poll"

    async def _poll(self, action: str) -> dict[str, Any]:
        with contextlib.suppress(httpx.TransportError):
            answer = await self._http.post(self._path(action), data={"messageId": self._cursor})
            if answer.status_code == 200:
                return dict(answer.json())
        return {}

    def _take(self, fields: dict[str, Any]) -> None:
        self._cursor = fields.get("C", self._cursor)
        for one in [fields, *fields.get("M", ())]:
            result = self._results.get(str(one.get("I", "")))
            if result is not None and not result.done():
                result.set_result(_outcome(one))
            elif one.get("M") == "onMessageReceived":
                self._hear(json.loads(one["A"][0]))
            elif one.get("M") == "onMessagesLost":
                self.on_event("lost", one["A"][0]["reason"])

    def _hear(self, envelope: dict[str, Any]) -> None:
        if envelope["by"] == self._peer:
            if envelope["number"] in self._own:
                self._own[envelope["number"]].set()
        else:
            self.put(Envelope(BEFORE_ALL, "", envelope))

    def _path(self, action: str, **more: str) -> str:
        query = {
            "transport": self._transport,
            "connectionToken": self._token,
            "connectionData": json.dumps([{"name": _HUB}]),
            **more,
        }
        sent = urlencode({name: value for name, value in query.items() if value})
        return f"{self._urls[self._turn % len(self._urls)]}/{action}?{sent}"


def _outcome(fields: dict[str, Any]) -> str:
    return str(fields.get("D", {}).get("code", "refused")) if "E" in fields else "done"
