"""The driver of WebSync: a page with the client's own script, which joins the shared channel by its chat extension."""

import asyncio
import itertools
import json
from abc import ABC, abstractmethod
from collections import deque
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import httpx2 as httpx

from relay.ids import IdGenerator
from tests.fleet import Relay
from tests.gateways.driver import (
    BAD_FRAME,
    Arrived,
    Capabilities,
    Closed,
    Departed,
    Event,
    Heard,
    NotAdmitted,
    Opened,
    Refused,
)
from tests.gateways.drivers.wires import TIMEOUT

CHANNEL = "/chat"
SUBSCRIBERS = f"/fm/subscribers{CHANNEL}"
RECORDS = {f"fm.chat.userId{CHANNEL}": "7", f"fm.chat.userNickname{CHANNEL}": "x"}
PREFIX = "72656c61-7900-4000-8000-000000000000."
"""Stands before ids without a GUID, which the client would drop."""
TYPES = ["websocket", "long-polling"]


def written(messages: list[dict[str, Any]]) -> bytes:
    """A request's body as the client writes it: with escaped slashes, and without spaces."""
    return json.dumps(messages, separators=(",", ":")).replace("/", r"\/").encode()


def code_of(reply: dict[str, Any]) -> str:
    """The relay's code in the error of a reply: NUMBER::CODE: TEXT."""
    return str(reply["error"]).partition("::")[2].partition(":")[0]


def peer_of(client: str) -> str:
    """The escaped peer id for which a client id stands."""
    return quote(client.removeprefix(PREFIX), safe="")


def client_of(peer: str) -> str:
    """The client id that stands for a peer of another protocol."""
    return peer if peer.count("-") == 4 else PREFIX + peer


class WebSyncRequests(ABC):
    """One client's requests; `client` and `session` are the ids from its last handshake, "" before."""

    def __init__(self, token: str = "") -> None:
        self.client = self.session = ""
        self.base = self.place = ""
        self.query = f"token={int.from_bytes(IdGenerator().secret(4))}&src=js&AspxAutoDetectCookieSupport=1"
        self._ids, self._requests = itertools.count(1), itertools.count(1)
        self.token = token
        self.acknowledges = False

    @abstractmethod
    async def post_body(self, body: bytes) -> list[dict[str, Any]]:
        """Send a body; returns the array of its response."""

    @property
    def path(self) -> str:
        """The address of the next request."""
        return f"{self.base}/websync.ashx?{self.query}{self.place}&_cb={next(self._requests)}"

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every request."""
        authorization = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return {"Content-Type": "application/json"} | authorization

    def message(self, channel: str, *, extensions: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        """A message of a client that has had its handshake."""
        ext = {**(extensions or {}), "fm.sessionId": self.session}
        return {"channel": channel, **fields, "clientId": self.client, "id": str(next(self._ids)), "ext": ext}

    async def handshake(self, *, comes_back: bool) -> dict[str, Any]:
        """Send a handshake; returns its reply."""
        message: dict[str, Any] = {
            "channel": "/meta/handshake",
            "id": str(next(self._ids)),
            "version": "1.0",
            "minimumVersion": "1.0",
            "supportedConnectionTypes": TYPES,
        }
        if comes_back:
            message["ext"] = {"fm.lcid": self.client, "fm.lsid": self.session}
        [reply] = await self.post([message])
        if reply["successful"]:
            self.client, self.session = reply["clientId"], reply["ext"]["fm.sessionId"]
            self.acknowledges = False
        return reply

    def join(self) -> list[dict[str, Any]]:
        """The messages of `client.join`."""
        binding = [{"key": key, "value": value} for key, value in RECORDS.items()]
        channels = [CHANNEL, SUBSCRIBERS]
        return [
            self.message("/meta/bind", binding=binding),
            self.message("/meta/subscribe", subscription=channels, extensions={"fm.tag": ""}),
        ]

    def connect(self) -> dict[str, Any]:
        """The next connect."""
        return self.message("/meta/connect", connectionType="long-polling", extensions={"fm.ack": self.acknowledges})

    async def post(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Send messages in one request; returns the array of its response."""
        return await self.post_body(written(messages))


class WebSyncWire(WebSyncRequests):
    """The same, over connections of its own."""

    def __init__(self, token: str = "") -> None:
        super().__init__(token)
        self.http = httpx.AsyncClient(timeout=4 * TIMEOUT, verify=False)

    async def begin(self, base: str) -> None:
        """Send further requests to the relay at this address, over new connections."""
        await self.http.aclose()
        self.base, self.http = base, httpx.AsyncClient(timeout=4 * TIMEOUT, verify=False)

    async def post_body(self, body: bytes) -> list[dict[str, Any]]:
        response = await self.http.post(self.path, content=body, headers=self.headers)
        answer: list[dict[str, Any]] = response.json()
        assert isinstance(answer, list)
        return answer


class WebSyncDriver:
    """A page: it comes back as the same client after a loss, and joins again."""

    can = Capabilities(
        held=True,
        resume=True,
        direct=True,
        presence=True,
        info={"websync": {"channels": [CHANNEL], "records": RECORDS}},
        survives_bad_frame=True,
    )

    def __init__(self) -> None:
        self.token = ""
        self._wire = WebSyncWire()
        self._relay: Relay | None = None
        self._events: deque[Event] = deque()
        self._ended = False

    async def open(self, relay: Relay, room: str) -> Opened:
        self._relay, self._ended = relay, False
        wire, before = self._wire, self._wire.client
        wire.token = self.token
        await wire.begin(f"{relay.http}/rooms/{quote(room, safe='')}")
        reply = await wire.handshake(comes_back=bool(before))
        if not reply["successful"]:
            raise NotAdmitted(code_of(reply))
        bound, subscribed = await wire.post(wire.join())
        assert bound["successful"], bound
        assert subscribed["successful"], subscribed
        assert CHANNEL in subscribed["ext"]["fm.subscribers"]
        if "error" in subscribed:
            self._events.append(Refused(code_of(subscribed)))
        return Opened(peer_of(wire.client), wire.client == before)

    async def send(self, data: Any, *, to: str = "") -> None:
        wire = self._wire
        if data is BAD_FRAME:
            body = b"[no JSON"
        elif to:
            body = written([wire.message("/meta/notify", data=data, extensions={"fm.notify": client_of(to)})])
        else:
            text = json.dumps({"message": data, "channel": "c"})
            body = written([wire.message(CHANNEL, data={"username": 5, "text": text})])
        with suppress(httpx.TransportError):  # the worker may be gone
            replies = await wire.post_body(body)
            self._events.extend(Refused(code_of(reply)) for reply in replies if not reply["successful"])

    async def refresh(self, token: str) -> None:
        raise AssertionError("the protocol cannot send a newer token")

    async def next(self) -> Event:
        async with asyncio.timeout(TIMEOUT):
            while not self._events:
                if self._ended:
                    return Closed()
                await self._connect()
        return self._events.popleft()

    async def close(self) -> None:
        wire = self._wire
        with suppress(httpx.TransportError):
            await wire.post([wire.message("/meta/disconnect")])
        await wire.http.aclose()

    async def drop(self) -> None:
        """Send a connect, and lose its connection."""
        wire = self._wire
        await wire.http.aclose()
        if self._relay is None or not wire.client:
            return
        with suppress(OSError):  # the worker may be gone
            _, writer = await asyncio.open_connection("127.0.0.1", self._relay.port)
            body, path = written([wire.connect()]), wire.path.removeprefix(self._relay.http)
            fields = "".join(f"{name}: {value}\r\n" for name, value in wire.headers.items())
            head = f"POST {path} HTTP/1.1\r\nHost: relay\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            writer.close()
            await writer.wait_closed()

    async def _connect(self) -> None:
        wire = self._wire
        try:
            answer = await wire.post([wire.connect()])
        except httpx.TransportError:
            self._ended = True
            return
        wire.acknowledges = answer[0]["channel"] != "/meta/connect"
        for message in answer:
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        match message["channel"]:
            case "/meta/connect":
                if not message["successful"]:
                    assert message["advice"] == {"reconnect": "handshake"}
                    code = code_of(message)
                    if code == "token_expired":
                        self._events.append(Refused(code))
                    self._ended = True
            case "/meta/notify":
                self._events.append(Heard(message["data"], peer_of(message["ext"]["fm.notifying"]["clientId"])))
            case channel if channel == SUBSCRIBERS:
                event = Arrived if message["data"]["type"] == "subscribe" else Departed
                self._events.append(event(peer_of(message["data"]["client"]["clientId"])))
            case _:
                # Pages drop their own publications.
                sender = message["ext"]["fm.publishing"]["clientId"]
                if sender != self._wire.client:
                    self._events.append(Heard(json.loads(message["data"]["text"])["message"], peer_of(sender)))
