"""The driver of XHR-Signaling: a page of the relay's own origin, which polls for one message at a time."""

import asyncio
import json
from collections import deque
from contextlib import suppress
from typing import Any
from urllib.parse import quote, unquote

import httpx2 as httpx

from relay.ids import IdGenerator
from tests.fleet import Relay
from tests.gateways.driver import BAD_FRAME, Capabilities, Closed, Event, Heard, NotAdmitted, Opened, Refused
from tests.gateways.drivers.wires import TIMEOUT

BOUNDARY = "------FormBoundary0123456789"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def form(message: str) -> str:
    """The body that a browser makes of a form with one field."""
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="message"\r\n\r\n{message}\r\n--{BOUNDARY}--\r\n'


class XhrDriver:
    """A page, whose place is in the cookie of its browser; its contract has no goodbye, which a script says for it."""

    can = Capabilities(held=True, resume=True, direct=True, survives_bad_frame=True)

    def __init__(self) -> None:
        self.token = ""
        self._me = IdGenerator().peer_id()
        self._cookie = ""
        self._room = ""
        self._relay: Relay | None = None
        self._http = httpx.AsyncClient()
        self._events: deque[Event] = deque()
        self._seen: set[str] = set()
        self._ended = False

    async def open(self, relay: Relay, room: str) -> Opened:
        await self._http.aclose()
        self._relay, self._room, self._ended = relay, room, False
        self._http = httpx.AsyncClient(base_url=relay.http, timeout=3 * TIMEOUT)
        resumed = bool(self._cookie)
        response = await self._ask("GetData", "undefined")
        if response.status_code != 200:
            raise NotAdmitted(response.json()["error"]["code"])
        if "set-cookie" in response.headers:
            assert not resumed
            self._cookie = response.headers["set-cookie"].partition(";")[0]
        self._take(response.json())
        return Opened(self._peer, resumed)

    async def send(self, data: Any, *, to: str = "") -> None:
        envelope = {"channel": "c", "message": data, "sender": self._me} | ({"to": to} if to else {})
        text = "no JSON" if data is BAD_FRAME else json.dumps(envelope)
        with suppress(httpx.TransportError):  # the worker may be gone
            response = await self._ask("PostData", text)
            if response.status_code != 200:
                self._events.append(Refused(response.json()["error"]["code"]))

    async def refresh(self, token: str) -> None:
        raise AssertionError("the protocol cannot send a newer token")

    async def next(self) -> Event:
        async with asyncio.timeout(TIMEOUT):
            while not self._events:
                if self._ended:
                    return Closed()
                await self._poll()
        return self._events.popleft()

    async def close(self) -> None:
        peer, _, key = self._cookie.partition("=")[2].rpartition(".")
        with suppress(httpx.TransportError):
            await self._http.post(f"/rooms/{quote(self._room, safe='')}/leave?peer={peer}&resume={key}", content="")
        await self._http.aclose()

    async def drop(self) -> None:
        """Send a poll, and lose its connection."""
        await self._http.aclose()
        if self._relay is None or not self._cookie:
            return
        with suppress(OSError):  # the worker may be gone
            _, writer = await asyncio.open_connection("127.0.0.1", self._relay.port)
            body = form("undefined")
            fields = "".join(f"{name}: {value}\r\n" for name, value in self._headers().items())
            head = f"POST {self._path('GetData')} HTTP/1.1\r\nHost: 127.0.0.1:{self._relay.port}\r\n{fields}"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            writer.close()
            await writer.wait_closed()

    @property
    def _peer(self) -> str:
        return unquote(self._cookie.partition("=")[2].rpartition(".")[0])

    async def _poll(self) -> None:
        try:
            response = await self._ask("GetData", "undefined")
        except httpx.TransportError:
            self._ended = True
            return
        if response.status_code == 200:
            self._take(response.json())
            return
        code = response.json()["error"]["code"]
        if code == "token_expired":
            self._events.append(Refused(code))
        self._ended = True

    def _take(self, row: Any) -> None:
        """Hear a row, as a page does: not one that it has seen, nor one that it has sent itself."""
        if not row or row["ID"] in self._seen:
            return
        self._seen.add(row["ID"])
        envelope = json.loads(row["Message"])
        if envelope.get("sender") != self._me and "message" in envelope:
            self._events.append(Heard(envelope["message"]))

    async def _ask(self, resource: str, message: str) -> httpx.Response:
        return await self._http.post(self._path(resource), content=form(message).encode(), headers=self._headers())

    def _path(self, resource: str) -> str:
        return f"/rooms/{quote(self._room, safe='')}/Home/{resource}"

    def _headers(self) -> dict[str, str]:
        assert self._relay is not None
        headers = {"Origin": self._relay.http, "Content-Type": FORM, "Cookie": self._cookie}
        # Another browser than those of other drivers, whose pages would confirm their cookies by polling all the time.
        headers["User-Agent"] = self._me
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        return {name: value for name, value in headers.items() if value}
