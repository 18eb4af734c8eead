"""The driver of the native protocol, and the witness that checks every other one."""

import json
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from websockets.exceptions import ConnectionClosed

from tests.fleet import Client, Json, Relay
from tests.gateways.driver import (
    BAD_FRAME,
    INFO,
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


class NativeDriver:
    """A native client with presence and an info, which resumes with its key and its position; it sends to `channel`."""

    can = Capabilities(
        held=True, resume=True, direct=True, presence=True, info=INFO, survives_bad_frame=True, refresh=True
    )

    connect: Callable[..., Awaitable[Any]] = Client.open

    def __init__(self, channel: str = "") -> None:
        self._channel = {"channel": channel} if channel else {}
        self._client: Any = None
        self._events: deque[Event] = deque()
        self._since = ""
        self._peer = ""
        self._resume = ""
        self.token = ""

    async def open(self, relay: Relay, room: str) -> Opened:
        self._events.clear()
        url = f"{relay.ws}/rooms/{quote(room, safe='')}?presence=1"
        if self._resume:
            url += f"&peer={self._peer}&since={self._since}"
        else:
            url += f"&info={quote(json.dumps(INFO))}"
        self._client = await type(self).connect(url, resume=self._resume, token=self.token)
        welcome = self._client.welcome
        if welcome["type"] == "error":
            raise NotAdmitted(welcome["code"])
        assert welcome["type"] == "welcome", welcome
        self._peer, self._resume, self._since = welcome["peer"], welcome["resume"], welcome["id"]
        return Opened(self._peer, welcome["resumed"])

    async def send(self, data: Any, *, to: str = "") -> None:
        assert self._client is not None
        if data is BAD_FRAME:
            await self._client.send("no JSON")
        else:
            await self._client.send({"message": data} | self._channel | ({"to": to} if to else {}))

    async def refresh(self, token: str) -> None:
        assert self._client is not None
        await self._client.send({"type": "refresh", "token": token})

    async def next(self) -> Event:
        while not self._events:
            assert self._client is not None
            try:
                self._take(await self._client.next())
            except ConnectionClosed:
                return Closed()
        return self._events.popleft()

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def drop(self) -> None:
        if self._client is not None:
            self._client.lose()
            await self._client.socket.wait_closed()

    def _take(self, frame: Json) -> None:
        kind = frame.get("type")
        self._since = frame.get("id", self._since)
        if kind is None:
            # An event of Socket.IO that is no envelope comes with its arguments.
            content = frame if "message" in frame else frame["args"][0]
            self._events.append(Heard(content["message"], frame["from"]))
        elif kind == "presence":
            self._events.extend(map(Departed, frame["left"]))
            self._events.extend(map(Arrived, frame["joined"]))
        elif kind == "error":
            self._events.append(Refused(frame["code"]))
        else:
            assert kind in ("recovered", "token_expiring", "refreshed"), frame
