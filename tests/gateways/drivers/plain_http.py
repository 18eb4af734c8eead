"""The drivers of plain HTTP: an event stream and posts, and long polling and posts."""

import asyncio
import json
from collections import deque
from contextlib import suppress
from typing import Any, Self
from urllib.parse import quote, urlencode

import httpx2 as httpx

from relay.ids import IdGenerator
from tests.fleet import Relay
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
from tests.gateways.drivers.wires import TIMEOUT, Ended

_CAN = Capabilities(
    held=True,
    resume=True,
    direct=True,
    presence=True,
    info=INFO,
    survives_bad_frame=True,
)


class EventStream:
    """One event stream, as a browser's `EventSource` reads it; `last` is the id of its newest event."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._lines: deque[str] = deque()
        self._rest = b""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.retry = 0
        self.last = ""

    @classmethod
    async def open(cls, port: int, path: str, *, method: str = "GET", body: bytes = b"", **headers: str) -> Self:
        """Send the request, and read the head of the response."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        fields = {"Host": f"127.0.0.1:{port}", "Accept": "text/event-stream", "Content-Length": str(len(body))} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        stream = cls(reader, writer)
        try:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        except BaseException:
            stream.abort()
            raise
        stream.status = int(first.split()[1])
        stream.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        return stream

    async def body(self) -> bytes:
        """The body of a response that is no stream."""
        return await self._reader.readexactly(int(self.headers["content-length"]))

    async def next(self, *, plain: str = "") -> tuple[str, Any]:
        """Return the name ("" for an envelope) and the data of the next event; raises `Ended`.

        The data is JSON, but for the text `plain`.
        """
        name, data = "", ""
        while True:
            line = await self._line()
            field, _, value = line.partition(": ")
            match field:
                case "":
                    if data:
                        return name, plain if plain and data == f"{plain}\n" else json.loads(data)
                case "event":
                    name = value
                case "data":
                    data += value + "\n"
                case "id":
                    self.last = value
                case "retry":
                    self.retry = int(value)

    def abort(self) -> None:
        """Reset the connection."""
        self._writer.transport.abort()

    async def drop(self) -> None:
        self.abort()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def _line(self) -> str:
        while b"\n" not in self._rest:
            self._rest += await self._chunk()
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode().removesuffix("\r")

    async def _chunk(self) -> bytes:
        """Return the next chunk of the body, or all of a body whose length was given."""
        try:
            async with asyncio.timeout(TIMEOUT):
                if "content-length" in self.headers:
                    if piece := await self._reader.read(65536):
                        return piece
                    raise Ended
                size = int(await self._reader.readuntil(b"\r\n"), 16)
                piece = await self._reader.readexactly(size + 2)
        except (OSError, asyncio.IncompleteReadError):
            raise Ended from None
        if not size:
            raise Ended
        return piece[:-2]


class _PlainHttpDriver:
    """A program with a key of its own, which it keeps."""

    can = _CAN

    def __init__(self) -> None:
        self.token = ""
        self._key = IdGenerator().resume_key()
        self._peer = ""
        self._room = ""
        self._relay: Relay | None = None
        self._http = httpx.AsyncClient(timeout=TIMEOUT)
        self._events: deque[Event] = deque()

    async def send(self, data: Any, *, to: str = "") -> None:
        envelope = {"message": data} | ({"to": to} if to else {})
        body = "no JSON" if data is BAD_FRAME else json.dumps(envelope)
        with suppress(httpx.TransportError):  # the worker may be gone
            response = await self._http.post(self._url("messages"), content=body, headers=self._authorization())
            if response.status_code != 200:
                self._events.append(Refused(response.json()["error"]["code"]))

    async def close(self) -> None:
        with suppress(httpx.TransportError):
            await self._http.post(self._url("leave"), content="")
        await self._end()

    async def drop(self) -> None:
        await self._end()

    async def _end(self) -> None:
        await self._http.aclose()

    async def _begin(self, relay: Relay, room: str) -> None:
        await self._http.aclose()
        self._relay, self._room = relay, room
        self._http = httpx.AsyncClient(timeout=TIMEOUT)
        self._events.clear()

    def _url(self, resource: str, **more: Any) -> str:
        assert self._relay is not None
        return f"{self._relay.http}{self._path(resource, **more)}"

    def _path(self, resource: str, **more: Any) -> str:
        query = {"peer": self._peer, "resume": self._key, "presence": 1, "info": json.dumps(INFO), **more}
        sent = {name: value for name, value in query.items() if value}
        return f"/rooms/{quote(self._room, safe='')}/{resource}?{urlencode(sent)}"

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def _told(self, fields: dict[str, Any]) -> None:
        match fields.get("type"):
            case None:
                if "message" in fields:
                    self._events.append(Heard(fields["message"], fields["from"]))
            case "presence":
                self._events.extend(Arrived(peer) for peer in fields["joined"])
                self._events.extend(Departed(peer) for peer in fields["left"])
            case "error" | "lost":
                self._events.append(Refused(fields.get("code", "lost")))


class EventsDriver(_PlainHttpDriver):
    """A page with an `EventSource`."""

    def __init__(self) -> None:
        super().__init__()
        self._stream: EventStream | None = None

    async def open(self, relay: Relay, room: str) -> Opened:
        if self._stream is not None:
            await self._stream.drop()
        await self._begin(relay, room)
        last = self._stream.last if self._stream is not None else ""
        headers = self._authorization() | ({"Last-Event-ID": last} if last else {})
        path = self._path("events")
        if not self._peer:
            path = path.replace("?", "?peer=&")
        self._stream = await EventStream.open(relay.port, path, **headers)
        if self._stream.status != 200:
            raise NotAdmitted(json.loads(await self._stream.body())["error"]["code"])
        while True:
            name, fields = await self._stream.next()
            if name == "error" and fields.get("about", "join") == "join":
                raise NotAdmitted(fields["code"])
            if name == "welcome":
                self._peer = fields["peer"]
                assert fields["resume"] == self._key
                return Opened(self._peer, fields["resumed"])

    async def next(self) -> Event:
        assert self._stream is not None
        while not self._events:
            try:
                name, fields = await self._stream.next()
            except Ended:
                return Closed()
            assert name == fields.get("type", "") or name == "lost"
            if name == "close":
                return Closed()
            self._told(fields)
        return self._events.popleft()

    async def drop(self) -> None:
        if self._stream is not None:
            await self._stream.drop()
        await super().drop()


class PollDriver(_PlainHttpDriver):
    """A script that polls."""

    def __init__(self) -> None:
        super().__init__()
        self._next = ""
        self._ended = False

    async def open(self, relay: Relay, room: str) -> Opened:
        await self._begin(relay, room)
        self._ended = False
        answer = await self._poll(wait=0)
        if "error" in answer:
            raise NotAdmitted(answer["error"]["code"])
        self._peer = answer["peer"]
        assert answer["resume"] == self._key
        [welcome] = [event for event in answer["events"] if event["type"] == "welcome"]
        self._take(answer)
        return Opened(self._peer, welcome["resumed"])

    async def next(self) -> Event:
        while not self._events:
            if self._ended:
                return Closed()
            try:
                answer = await self._poll(wait=10)
            except httpx.TransportError:
                return Closed()
            self._take(answer)
            code = answer.get("error", {}).get("code", "")
            if code == "token_expired":
                # The place ended between two polls, and the next one has the same token.
                self._events.append(Refused(code))
            self._ended = "closed" in answer or bool(code)
        return self._events.popleft()

    async def drop(self) -> None:
        """Send a poll, and lose its connection."""
        if self._relay is not None and self._next:
            with suppress(OSError, asyncio.IncompleteReadError):  # the worker may be gone
                _, writer = await asyncio.open_connection("127.0.0.1", self._relay.port)
                path = self._path("messages", since=self._next, wait=10)
                authorization = "".join(f"{name}: {value}\r\n" for name, value in self._authorization().items())
                writer.write(f"GET {path} HTTP/1.1\r\nHost: relay\r\n{authorization}\r\n".encode())
                writer.close()
                await writer.wait_closed()
        await super().drop()

    async def _poll(self, wait: int) -> dict[str, Any]:
        url = self._url("messages", since=self._next)
        # An empty peer asks for any.
        url += f"&wait={wait}" + ("" if self._peer else "&peer=")
        async with asyncio.timeout(TIMEOUT):
            answer: dict[str, Any] = (await self._http.get(url, headers=self._authorization())).json()
        return answer

    def _take(self, answer: dict[str, Any]) -> None:
        self._next = answer.get("next", self._next)
        for message in answer.get("messages", ()):
            self._told(message)
        for event in answer.get("events", ()):
            self._told(event)
