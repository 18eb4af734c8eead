"""A server that takes the requests of the webhook, and fails on purpose."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Self

from tests.ports import free_port, release_port

SECRET = "a-secret-of-the-webhook-in-tests-of-32-or-more"

Json = dict[str, Any]


class HookRequest(NamedTuple):
    """One request: when its body had arrived, its headers by their names in lower case, and its body."""

    time: float
    headers: dict[str, str]
    body: bytes


class HookReceiver:
    """Answers with `status`, after `delay` seconds, with `headers` and `content`; counts the accepted events.

    `events` are the accepted events without repeats, in the order of their arrival, and `repeats` the others. A request
    whose signature is wrong fails the test.
    """

    def __init__(self, secrets: str = SECRET, *, port: int = 0) -> None:
        self._secrets = secrets.split()
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[object]] = set()
        self._changed = asyncio.Event()
        self._releases = not port
        self.port = port or free_port()
        self.status = 204
        self.delay = 0.0
        self.headers: dict[str, str] = {}
        self.content = b""
        # An answer that never ends, byte by byte: "head" to begin one.
        self.drips = ""
        self.requests: list[HookRequest] = []
        # Requests whose answer has left as a whole.
        self.answered = 0
        self.events: list[Json] = []
        self.repeats: list[Json] = []
        self.problems: list[str] = []
        self.connections: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def settings(self) -> Json:
        """The settings of workers that call this server."""
        return {"webhook_url": self.url, "webhook_secret": " ".join(self._secrets)}

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
        if self._releases:
            release_port(self.port)
        assert not self.problems

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def close(self) -> None:
        """Refuse connections from now on, and end those that are open."""
        if self._server is not None:
            self._server.close()
            for task in self._serving:
                task.cancel()
            if self._serving:
                await asyncio.wait(self._serving)
            await self._server.wait_closed()
            self._server = None

    async def until(self, condition: Callable[[], Any], timeout: float = 15) -> None:
        """Wait until a condition holds, which is checked after each request."""
        async with asyncio.timeout(timeout):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def told(self, *kinds: str, room: str = "room", timeout: float = 15) -> None:
        """Wait until the events of a room are of these types, in this order."""
        try:
            await self.until(lambda: self.types(room) == list(kinds), timeout)
        except TimeoutError:
            raise AssertionError(f"{self.types(room)} instead of {kinds}") from None

    def types(self, room: str = "room") -> list[str]:
        return [event["type"] for event in self.events if event.get("room") == room]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.connections.append(str(writer.get_extra_info("peername")))
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    await self._answer(reader, writer)
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            self._serving.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.requests.append(HookRequest(time.monotonic(), headers, body))
        self._check(headers["relay-signature"], body)
        status = self.status
        if 200 <= status < 300:
            self._accept(body)
        self._changed.set()
        await asyncio.sleep(self.delay)
        while self.drips:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" if self.drips == "head" else b"x")
            self.drips = "body"
            await writer.drain()
            await asyncio.sleep(0.05)
        fields = {"Content-Length": str(len(self.content)), **self.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + self.content)
        await writer.drain()
        self.answered += 1

    def _check(self, signature: str, body: bytes) -> None:
        sent, *macs = signature.split(",")
        signed = sent.removeprefix("t=").encode() + b"." + body
        right = ["v1=" + hmac.new(one.encode(), signed, hashlib.sha256).hexdigest() for one in self._secrets]
        if macs != right or abs(int(sent.removeprefix("t=")) - time.time()) > 30:
            self.problems.append(f"wrong signature: {signature}")

    def _accept(self, body: bytes) -> None:
        known = {event["id"] for event in self.events}
        for event in json.loads(body)["events"]:
            (self.repeats if event["id"] in known else self.events).append(event)
            known.add(event["id"])
