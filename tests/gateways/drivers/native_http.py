"""The driver of the native protocol over HTTP: its connection is a stream and posts in place of a WebSocket."""

import json
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, Self

import httpx2 as httpx
from websockets.exceptions import ConnectionClosed

from tests.fleet import Json, Relay
from tests.gateways.driver import NotAdmitted, Opened
from tests.gateways.drivers.native import NativeDriver
from tests.gateways.drivers.plain_http import EventStream
from tests.gateways.drivers.wires import TIMEOUT, Ended


class StreamClient:
    """A client with the methods of `tests.fleet.Client` that the driver uses."""

    def __init__(self, url: str, stream: EventStream) -> None:
        self._room = url.partition("?")[0].replace("ws://", "http://")
        self._stream = stream
        self._session = ""
        self.welcome: Json = {}
        self.socket = SimpleNamespace(wait_closed=self._wait_closed)

    @classmethod
    async def open(cls, url: str, *, resume: str = "", token: str = "") -> Self:
        """Connect, and read the welcome, or the error in its place."""
        origin, _, path = url.removeprefix("ws://").partition("/")
        room, _, query = path.partition("?")
        secrets = [f"{kind}.{secret}" for kind, secret in (("resume", resume), ("token", token)) if secret]
        body = ", ".join(["relay.v1", *secrets]).encode()
        port = int(origin.rpartition(":")[2])
        stream = await EventStream.open(port, f"/{room}/connect?{query}", method="POST", body=body)
        assert stream.status == 200, await stream.body()
        client = cls(url, stream)
        name, data = await stream.next()
        assert name == "session"
        client._session = data["session"]
        client.welcome = await client.next()
        return client

    async def send(self, message: Json | str) -> None:
        """Post one frame; the worker may be gone, or have ended the session."""
        await self._post(message if isinstance(message, str) else json.dumps(message))

    async def next(self) -> Json:
        """The next frame."""
        try:
            name, data = await self._stream.next()
        except Ended:
            raise ConnectionClosed(None, None) from None
        if name == "close":
            raise ConnectionClosed(None, None)
        frame: Json = data
        return frame

    async def close(self) -> None:
        """Say goodbye."""
        await self._post("", close="1000")
        await self._wait_closed()

    def lose(self) -> None:
        """Lose the connection without a goodbye."""
        self._stream.abort()

    async def _post(self, body: str, **query: Any) -> None:
        with suppress(httpx.TransportError):
            async with httpx.AsyncClient(timeout=TIMEOUT) as client:
                await client.post(f"{self._room}/frames", params={"session": self._session, **query}, content=body)

    async def _wait_closed(self) -> None:
        await self._stream.drop()


class NativeHttpDriver(NativeDriver):
    """A native client in a network that lets no WebSocket through."""

    connect = StreamClient.open

    async def open(self, relay: Relay, room: str) -> Opened:
        await self.drop()
        try:
            return await super().open(relay, room)
        except NotAdmitted:
            await self.drop()
            raise
