"""The driver of ASP.NET Core SignalR: three transports, in JSON or MessagePack."""

import asyncio
import itertools
import json
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol, Self
from urllib.parse import quote, urlencode

import httpx2 as httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.fleet import Json, Relay
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
from tests.gateways.drivers.plain_http import EventStream
from tests.gateways.drivers.rmc3 import subject_of
from tests.gateways.drivers.wires import TIMEOUT, Ended

_CAN = Capabilities(held=True, resume=True, direct=True, presence=True, info=INFO, refresh=True)


class HubWire(Protocol):
    """A transport: it carries pieces of the stream of hub messages in both directions."""

    async def send(self, data: bytes) -> None: ...

    async def receive(self) -> bytes:
        """Return the next piece; raises `Ended`."""
        ...

    async def goodbye(self) -> None:
        """End the connection after the last message, as the client library does."""
        ...

    async def drop(self) -> None: ...


class SocketWire:
    """A WebSocket."""

    def __init__(self, socket: ClientConnection, *, binary: bool) -> None:
        self._socket = socket
        self._binary = binary

    @classmethod
    async def open(cls, relay: Relay, path: str, headers: dict[str, str], *, binary: bool) -> Self:
        try:
            socket = await connect(
                relay.ws + path, compression=None, ping_interval=None, proxy=None, additional_headers=headers
            )
        except InvalidStatus as refused:
            raise NotAdmitted(json.loads(refused.response.body or b"{}")["error"]["code"]) from None
        return cls(socket, binary=binary)

    async def send(self, data: bytes) -> None:
        with suppress(ConnectionClosed):
            await self._socket.send(data if self._binary else data.decode())

    async def receive(self) -> bytes:
        try:
            async with asyncio.timeout(TIMEOUT):
                piece = await self._socket.recv()
        except ConnectionClosed:
            raise Ended from None
        assert isinstance(piece, bytes) is self._binary
        return piece if isinstance(piece, bytes) else piece.encode()

    async def goodbye(self) -> None:
        await self._socket.close(1000)

    async def drop(self) -> None:
        self._socket.transport.abort()
        await self._socket.wait_closed()


class _PostingWire:
    """Posts messages beside the request that receives them."""

    def __init__(self, relay: Relay, path: str, headers: dict[str, str]) -> None:
        self._relay = relay
        self._path = path
        self._headers = headers
        self._http = httpx.AsyncClient(base_url=relay.http, timeout=TIMEOUT, headers=headers)

    async def send(self, data: bytes) -> None:
        with suppress(httpx.TransportError):  # the worker may be gone
            await self._http.post(self._path, content=data)


class StreamWire(_PostingWire):
    """Server-Sent Events."""

    def __init__(self, relay: Relay, path: str, headers: dict[str, str], stream: "DataStream") -> None:
        super().__init__(relay, path, headers)
        self._stream = stream

    @classmethod
    async def open(cls, relay: Relay, path: str, headers: dict[str, str]) -> Self:
        stream = await DataStream.open(relay.port, path, **headers)
        if stream.status != 200:
            raise NotAdmitted(json.loads(await stream.body())["error"]["code"])
        return cls(relay, path, headers, stream)

    async def receive(self) -> bytes:
        return await self._stream.data()

    async def goodbye(self) -> None:
        await self.drop()

    async def drop(self) -> None:
        await self._http.aclose()
        await self._stream.drop()


class DataStream(EventStream):
    """An event stream whose events have no names."""

    async def data(self) -> bytes:
        """Return the data of the next event; raises `Ended`."""
        lines = list[str]()
        while True:
            line = (await self._line()).removesuffix("\r")
            if not line and lines:
                return "\n".join(lines).encode()
            if line.startswith("data:"):
                lines.append(line.removeprefix("data: "))


class PollWire(_PostingWire):
    """Long polling."""

    @classmethod
    async def open(cls, relay: Relay, path: str, headers: dict[str, str]) -> Self:
        wire = cls(relay, path, headers)
        first = await wire._http.get(path)
        if first.status_code != 200:
            raise NotAdmitted(first.json()["error"]["code"])
        assert first.content == b""
        return wire

    async def receive(self) -> bytes:
        while True:
            try:
                response = await self._http.get(self._path)
            except httpx.TransportError:
                raise Ended from None
            if response.status_code != 200:
                raise Ended
            if response.content:
                return response.content

    async def goodbye(self) -> None:
        with suppress(httpx.TransportError):
            await self._http.delete(self._path)
        await self._http.aclose()

    async def drop(self) -> None:
        """Send a poll, and lose its connection."""
        await self._http.aclose()
        with suppress(OSError):  # the worker may be gone
            _, writer = await asyncio.open_connection("127.0.0.1", self._relay.port)
            writer.write(f"GET {self._path} HTTP/1.1\r\nHost: relay\r\n\r\n".encode())
            writer.close()
            await writer.wait_closed()


class SignalRDriver:
    """A program with `@microsoft/signalr`; with `named`, its address has a peer id, and else the relay chooses one."""

    can = _CAN

    def __init__(self, transport: str = "websocket", *, packed: bool = False, named: bool = False) -> None:
        self.token = ""
        self._transport = transport
        self._packed = packed
        self._wanted = f"signalr-{id(self)}" if named else ""
        self._peer = ""
        self._cookie = ""
        self._wire: HubWire | None = None
        self._rest = b""
        self._events: deque[Event] = deque()
        self._ids = itertools.count()
        # As a page's own list of members: if the worker is killed, the events of its last second come once more.
        self._present: set[str] = set()

    async def open(self, relay: Relay, room: str) -> Opened:
        await self.drop()
        self._events.clear()
        self._rest = b""
        # A token with a subject decides the peer id.
        named = self._wanted and not (self.token and subject_of(self.token))
        query = {"info": json.dumps(INFO)} | ({"peer": self._wanted} if named else {})
        path = f"/rooms/{quote(room, safe='')}/signalr"
        negotiated = await self._negotiate(relay, f"{path}/negotiate?{urlencode(query | {'negotiateVersion': 1})}")
        target = f"{path}?{urlencode(query | {'id': negotiated['connectionToken']})}"
        self._wire = await self._connect(relay, target)
        protocol = "messagepack" if self._packed else "json"
        await self._wire.send(json.dumps({"protocol": protocol, "version": 1}).encode() + b"\x1e")
        answer = json.loads(await self._record())
        if "error" in answer:
            raise NotAdmitted(answer["error"].partition(":")[0])
        before, self._peer = self._peer, negotiated["connectionId"]
        return Opened(self._peer, bool(before) and before == self._peer)

    async def send(self, data: Any, *, to: str = "") -> None:
        if data is BAD_FRAME:
            assert self._wire is not None
            await self._wire.send(b"\x02\xc1\x06" if self._packed else b"no JSON\x1e")
        elif to:
            await self._invoke("SendTo", to, {"message": data})
        else:
            await self._invoke("Send", {"message": data})

    async def refresh(self, token: str) -> None:
        self.token = token
        await self._invoke("Refresh", token)

    async def next(self) -> Event:
        while not self._events:
            try:
                message = await self._message()
            except Ended:
                return Closed()
            if message["type"] == 7:
                return Closed()
            self._told(message)
        return self._events.popleft()

    async def close(self) -> None:
        if self._wire is not None:
            await self._send({"type": 7})
            await self._wire.goodbye()
            self._wire = None

    async def drop(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.drop()

    async def _negotiate(self, relay: Relay, path: str) -> Json:
        async with httpx.AsyncClient(timeout=TIMEOUT) as client:
            response = await client.post(relay.http + path, headers=self._headers())
        cookie = response.headers.get("set-cookie", "")
        if cookie:
            assert "HttpOnly" in cookie
            self._cookie = cookie.partition(";")[0]
        answer: Json = response.json()
        if "error" in answer:
            error = answer["error"]
            raise NotAdmitted(error["code"] if isinstance(error, dict) else error.partition(":")[0])
        return answer

    async def _connect(self, relay: Relay, path: str) -> HubWire:
        match self._transport:
            case "websocket":
                return await SocketWire.open(relay, path, self._headers(), binary=self._packed)
            case "sse":
                return await StreamWire.open(relay, path, self._headers())
            case _:
                return await PollWire.open(relay, path, self._headers())

    def _headers(self) -> dict[str, str]:
        cookie = {"Cookie": self._cookie} if self._cookie else {}
        return cookie | ({"Authorization": f"Bearer {self.token}"} if self.token else {})

    async def _invoke(self, target: str, *arguments: Any) -> None:
        await self._send(
            {"type": 1, "target": target, "arguments": list(arguments), "invocationId": str(next(self._ids))}
        )

    async def _send(self, message: Json) -> None:
        assert self._wire is not None
        if not self._packed:
            await self._wire.send(json.dumps(message).encode() + b"\x1e")
            return
        parts: Sequence[Any] = [message["type"]]
        if message["type"] == 1:
            parts = [1, {}, message["invocationId"], message["target"], message["arguments"]]
        data = msgspec.msgpack.encode(parts)
        size, length = len(data), b""
        while size > 0x7F:
            length += bytes([size & 0x7F | 0x80])
            size >>= 7
        await self._wire.send(length + bytes([size]) + data)

    async def _record(self) -> bytes:
        """Return the next record of JSON; the answer to a handshake is one in any case."""
        assert self._wire is not None
        while b"\x1e" not in self._rest:
            self._rest += await self._wire.receive()
        record, _, self._rest = self._rest.partition(b"\x1e")
        return record

    async def _message(self) -> Json:
        if not self._packed:
            message: Json = json.loads(await self._record())
            return message
        assert self._wire is not None
        size, at = 0, 0
        while not at or self._rest[at - 1] >= 0x80:
            while len(self._rest) == at:
                self._rest += await self._wire.receive()
            size |= (self._rest[at] & 0x7F) << (7 * at)
            at += 1
        while len(self._rest) < at + size:
            self._rest += await self._wire.receive()
        parts = msgspec.msgpack.decode(self._rest[at : at + size])
        self._rest = self._rest[at + size :]
        match parts:
            case [1, _, _, target, arguments, []]:
                return {"type": 1, "target": target, "arguments": arguments}
            case [3, _, _, 1, error]:
                return {"type": 3, "error": error}
            case [kind, *_]:
                return {"type": kind}
        raise AssertionError(parts)

    def _told(self, message: Json) -> None:
        if message["type"] == 3 and "error" in message:
            self._events.append(Refused(message["error"].partition(":")[0]))
        if message["type"] != 1:
            return
        match message["target"], message["arguments"]:
            case "onMessageReceived", [envelope]:
                if "message" in envelope:
                    self._events.append(Heard(envelope["message"], envelope["from"]))
            case "joined", [peer, *_] if peer not in self._present:
                self._present.add(peer)
                self._events.append(Arrived(peer))
            case "left", [peer, _]:
                self._present.discard(peer)
                self._events.append(Departed(peer))
            case "error", [{"code": code}]:
                self._events.append(Refused(code))
