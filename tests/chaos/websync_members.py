"""Members that speak WebSync: pages that poll any worker, and come back by a handshake with their earlier ids."""

import asyncio
import contextlib
import json
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from relay.client import Envelope, NotAcknowledged
from relay.http_client import HttpClient, HttpError, Unreachable
from relay.model.envelope import BEFORE_ALL
from tests.chaos.reference import RunningMember
from tests.gateways.drivers.websync import CHANNEL, WebSyncRequests, code_of

_PAUSE: Final = 0.3
_ECHO: Final = 3.0
"""Seconds in which a page that has come back hears its own message, if it was sent before."""


_MOST: Final = 1_000_000
"""Bytes of a response."""


class LightWire(WebSyncRequests):
    """The requests of a page over a client that costs little: a room of three has four requests for each message."""

    def __init__(self) -> None:
        super().__init__()
        self._connections = HttpClient()

    async def post_body(self, body: bytes) -> list[dict[str, Any]]:
        """Raises `HttpError`, or `ValueError`."""
        address = urlsplit(self.path)
        head = f"POST {address.path}?{address.query} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        fields = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        request = f"{head}{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body
        async with self._connections.connection((str(address.hostname), address.port or 80)) as connection:
            response = await connection.exchange(request)
            answer: list[dict[str, Any]] = json.loads(await response.read(_MOST))
        return answer

    def close(self) -> None:
        """Close the connections without a request."""
        self._connections.close()


class WebSyncMember(RunningMember):
    """A page; it sees no ids of messages.

    A publication without an answer is sent again as it was: the relay publishes it once. After a new handshake, which
    changes the session id, it is sent anew only if the page, which hears its own messages, has not heard it.
    """

    def __init__(self, urls: Sequence[str], room: str, peer: str, *, slow: float) -> None:
        super().__init__()
        self.members = None
        self._urls = [url.replace("ws:", "http:") + f"/rooms/{room}" for url in urls]
        self._peer = peer
        self._wire = LightWire()
        self._turn = 0
        self._slow = slow
        self._own: dict[int, asyncio.Event] = {}
        self._sending = asyncio.Lock()
        self._connected = asyncio.Event()
        self._polling: asyncio.Task[Any] | None = None
        self._lost_at = 0.0
        self._heard: dict[tuple[str, int], float] = {}

    async def _close(self) -> None:
        self.drop()
        self._wire.close()

    async def send(self, envelope: dict[str, Any], *, timeout: float) -> None:
        heard = self._own[envelope["number"]] = asyncio.Event()
        try:
            async with asyncio.timeout(timeout), self._sending:
                while not self._left:
                    if await self._publish(envelope, heard):
                        return
                    await asyncio.sleep(_PAUSE)
        except TimeoutError:
            pass
        raise NotAcknowledged(possibly_sent=True)

    def drop(self) -> None:
        """Lose the connection of the open connect."""
        if self._polling is not None:
            self._polling.cancel()

    async def leave(self) -> None:
        self._left = True
        with contextlib.suppress(HttpError, ValueError):
            await self._wire.post([self._wire.message("/meta/disconnect")])

    async def _publish(self, envelope: dict[str, Any], heard: asyncio.Event) -> bool:
        """Publish once; whether it is known to be sent."""
        await self._connected.wait()
        wire, unclear = self._wire, False
        message, session = wire.message(CHANNEL, data=envelope), wire.session
        while wire.session == session and not self._left:
            try:
                async with asyncio.timeout(self._slow):
                    [reply] = await wire.post([message])
            except Unreachable:
                pass  # nothing was sent
            except (HttpError, ValueError, TimeoutError):
                unclear = True
            else:
                if reply["successful"]:
                    return True
                if code_of(reply) != "outcome_unknown":
                    break
                unclear = True
            await asyncio.sleep(_PAUSE)
        if unclear:
            await self._connected.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(heard.wait(), _ECHO)
        return heard.is_set()

    async def _run(self) -> None:
        while not self._left:
            with contextlib.suppress(HttpError, ValueError, TimeoutError):
                await self._stay()
            self._connected.clear()
            self._turn += 1
            await asyncio.sleep(_PAUSE)

    async def _stay(self) -> None:
        """Come in or back, and connect until that fails."""
        wire = self._wire
        wire.base = self._urls[self._turn % len(self._urls)]
        wire.place = f"&peer={self._peer}"
        async with asyncio.timeout(self._slow):
            reply = await wire.handshake(comes_back=bool(wire.client))
            if not reply["successful"]:
                return
            replies = await wire.post(wire.join())
        if not all(one["successful"] for one in replies):
            return
        self.welcomes += 1
        self._connected.set()
        while not self._left:
            answer = await self._connect(wire.connect())
            if not answer or any(one.get("successful") is False for one in answer):
                return
            wire.acknowledges = answer[0]["channel"] != "/meta/connect"
            for one in answer:
                if one["channel"] == CHANNEL:
                    self._hear(one["data"])

    async def _connect(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        """Send a connect, and once more as it was if its connection is lost, as browsers do."""
        for again in (False, True):
            self._polling = asyncio.create_task(self._wire.post([message]))
            await asyncio.wait([self._polling])
            if not self._polling.cancelled() and self._polling.exception() is None:
                self.welcomes += again
                return self._polling.result()
            self._lost_at = asyncio.get_running_loop().time()
        return []

    def _hear(self, envelope: Any) -> None:
        if envelope["by"] != self._peer:
            now = asyncio.get_running_loop().time()
            first = self._heard.setdefault((envelope["by"], envelope["number"]), now)
            if first != now:
                # The client has no ids of messages: the last ones before a loss may come again.
                self.again.append(max(0.0, self._lost_at - first))
                return
            self.put(Envelope(BEFORE_ALL, "", envelope))
        elif envelope["number"] in self._own:
            self._own[envelope["number"]].set()
