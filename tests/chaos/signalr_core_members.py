"""Members that speak SignalR of ASP.NET Core over each of its transports, and come back to the next worker."""

import asyncio
import contextlib
import itertools
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, cast
from urllib.parse import urlsplit

import httpx2 as httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from relay.client import NotAcknowledged
from relay.model.envelope import MessageId
from tests.chaos.reference import RunningMember, lose
from tests.gateways.drivers.signalr import DataStream
from tests.gateways.drivers.wires import Ended

CORE_TRANSPORTS: Final = {
    "signalr-core-websocket": "WebSockets",
    "signalr-core-events": "ServerSentEvents",
    "signalr-core-polling": "LongPolling",
}
"""The kinds of members."""

_END: Final = "\x1e"
_HANDSHAKE: Final = {"protocol": "json", "version": 1}
_PAUSE: Final = 0.3
_SILENCE: Final = 30.0
_FOR_GOOD: Final = frozenset({"peer_taken", "wrong_peer"})
_LOSSES: Final = (
    OSError, TimeoutError, InvalidHandshake, ConnectionClosed, Ended, asyncio.IncompleteReadError, httpx.TransportError,
)  # fmt: skip


class _Response(DataStream):
    """A response with its own connection."""

    def lose(self) -> None:
        lose(cast("asyncio.Transport", self._writer.transport))


class SignalRCoreMember(RunningMember):
    """A program that names its peer, proves its place by its cookie, and sees no other members.

    Each envelope has a key. A call without a result is made again as it was: the relay publishes it once.
    """

    def __init__(self, urls: Sequence[str], room: str, peer: str, *, slow: float, transport: str) -> None:
        super().__init__()
        self.members = None
        self._urls = [url.replace("ws:", "http:") + f"/rooms/{room}/signalr" for url in urls]
        self._place = f"peer={peer}&presence=0"
        self._slow, self._transport = slow, transport
        self._turn, self._numbers = 0, itertools.count()
        self._prefix = secrets.token_hex(8)
        self._target = ""
        self._http = httpx.AsyncClient(timeout=slow)
        self._socket: ClientConnection | None = None
        self._response: _Response | None = None
        self._sending = asyncio.Lock()
        self._connected = asyncio.Event()
        self._results: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._heard: dict[str, float] = {}
        self._lost_at = 0.0

    async def _close(self) -> None:
        self._cut()
        await self._http.aclose()

    async def send(self, envelope: dict[str, Any], *, timeout: float) -> MessageId:
        keyed = envelope | {"key": f"{self._prefix}-{next(self._numbers)}"}
        try:
            # Locks are fair: envelopes are sent in the order of the calls.
            async with asyncio.timeout(timeout), self._sending:
                while True:
                    await self._connected.wait()
                    outcome = await self._call(keyed)
                    if "result" in outcome:
                        return MessageId.parse(outcome["result"]["id"])
                    await asyncio.sleep(_PAUSE)
        except TimeoutError:
            raise NotAcknowledged(possibly_sent=True) from None

    def drop(self) -> None:
        if self._socket is not None:
            lose(self._socket.transport)
        if self._response is not None:
            self._response.lose()

    async def leave(self) -> None:
        self._left = True
        with contextlib.suppress(*_LOSSES):
            if self._transport == "LongPolling":
                await self._http.delete(self._target)
            else:
                await self._write({"type": 7})

    # Calls.

    async def _call(self, envelope: dict[str, Any]) -> dict[str, Any]:
        """Call `Send`; the completion, or nothing if it did not come."""
        number = str(next(self._numbers))
        self._results[number] = result = asyncio.get_running_loop().create_future()
        call = {"type": 1, "target": "Send", "arguments": [envelope], "invocationId": number}
        try:
            async with asyncio.timeout(self._slow):
                return await result if await self._write(call) else {}
        except _LOSSES:
            return {}
        finally:
            del self._results[number]

    async def _write(self, message: dict[str, Any]) -> bool:
        record = json.dumps(message) + _END
        if self._transport == "WebSockets":
            assert self._socket is not None
            await self._socket.send(record)
            return True
        return (await self._http.post(self._target, content=record)).status_code == 200

    # Listening.

    async def _run(self) -> None:
        while not self._left:
            with contextlib.suppress(*_LOSSES):
                await self._stay()
            self._connected.clear()
            self._lost_at = asyncio.get_running_loop().time()
            for result in self._results.values():
                if not result.done():
                    result.set_result({})
            self._cut()
            self._turn += 1
            await asyncio.sleep(_PAUSE)

    async def _stay(self) -> None:
        """Negotiate, connect, and take messages until the connection ends."""
        url = self._urls[self._turn % len(self._urls)]
        answer = await self._http.post(f"{url}/negotiate?{self._place}&negotiateVersion=1")
        if answer.status_code != 200:
            return
        negotiated = answer.json()
        if self._refused(negotiated):
            return
        self._target = f"{url}?{self._place}&id={negotiated['connectionToken']}"
        rest = ""
        async with contextlib.aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                *records, rest = (rest + piece).split(_END)
                for record in records:
                    if not self._take(json.loads(record)):
                        return

    async def _pieces(self) -> AsyncIterator[str]:
        """The pieces of the stream of messages, of which the first has the answer to the handshake."""
        match self._transport:
            case "WebSockets":
                async with asyncio.timeout(self._slow):
                    self._socket = await connect(
                        self._target.replace("http:", "ws:"), additional_headers=self._cookies(), compression=None,
                        ping_interval=None, proxy=None, max_size=None, max_queue=None,
                    )  # fmt: skip
                await self._write(_HANDSHAKE)
                while True:
                    yield str(await asyncio.wait_for(self._socket.recv(), _SILENCE))
            case "ServerSentEvents":
                stream = await self._get("text/event-stream")
                if stream.status == 200 and await self._write(_HANDSHAKE):
                    while True:
                        yield (await asyncio.wait_for(stream.data(), _SILENCE)).decode()
            case _:
                status, _ = await self._poll()
                if status == 200 and await self._write(_HANDSHAKE):
                    while True:
                        status, body = await self._poll()
                        if status != 200:
                            return
                        yield body

    async def _get(self, accept: str) -> _Response:
        address = urlsplit(self._target)
        assert address.port is not None
        async with asyncio.timeout(_SILENCE):
            path = f"{address.path}?{address.query}"
            self._response = await _Response.open(address.port, path, Accept=accept, **self._cookies())
        return self._response

    async def _poll(self) -> tuple[int, str]:
        """The status and the body of a poll."""
        async with asyncio.timeout(_SILENCE):
            response = await self._get("*/*")
            try:
                body = await response.body() if response.status == 200 else b""
            finally:
                response.abort()
        return response.status, body.decode()

    def _cookies(self) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self._http.cookies.items())}

    def _take(self, message: dict[str, Any]) -> bool:
        """Take a message; whether more may follow."""
        match message:
            case {"type": 7}:
                self._refused(message)
                return False
            case {"type": 3, "invocationId": number} if number in self._results:
                if not self._results[number].done():
                    self._results[number].set_result(message)
            case {"type": 1, "target": "onMessageReceived", "arguments": [envelope]}:
                self._hear(envelope)
            case {"type": 1, "target": "error", "arguments": [{"code": "messages_lost"} as report]}:
                self.on_event("lost", report.get("reason"))
            case {"type": _}:
                pass
            case {"error": _}:
                self._refused(message)
                return False
            case _:
                self.welcomes += 1
                self._connected.set()
        return True

    def _refused(self, answer: dict[str, Any]) -> bool:
        """Whether an answer refuses the member; it ends if that is for good."""
        code = str(answer.get("error") or "").partition(":")[0]
        if code in _FOR_GOOD and not self._left:
            self._left = True
            self.on_end(0, left=False)
        return bool(code)

    def _hear(self, envelope: dict[str, Any]) -> None:
        now = asyncio.get_running_loop().time()
        first = self._heard.setdefault(envelope["id"], now)
        if first != now:
            # The client has no cursor: its last message before a loss may come again.
            self.again.append(max(0.0, self._lost_at - first))
        else:
            self.on_event("message", envelope)

    def _cut(self) -> None:
        if self._socket is not None:
            self._socket.transport.abort()
        if self._response is not None:
            self._response.abort()
