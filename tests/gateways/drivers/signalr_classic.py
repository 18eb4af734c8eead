"""The drivers of SignalR 2.x: its three transports, with the hub of pages for WebRTC."""

import asyncio
import json
import uuid
from collections import deque
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode

import httpx2 as httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.fleet import Relay
from tests.gateways.driver import BAD_FRAME, Capabilities, Closed, Event, Heard, NotAdmitted, Opened, Refused
from tests.gateways.drivers.plain_http import EventStream
from tests.gateways.drivers.wires import TIMEOUT, Ended

HUB = "webrtchub3"
_CAN = Capabilities(held=True, resume=True, survives_bad_frame=True)


class ClassicDriver:
    """A page: it drops its own messages, which it hears as all others do."""

    can = _CAN
    transport = ""

    def __init__(self) -> None:
        self.token = ""
        self._me = uuid.uuid4().hex
        self._relay: Relay | None = None
        self._room = ""
        self._peer = ""
        self._connection_token = ""
        self.cursor = ""
        self._calls = 0
        self._http = httpx.AsyncClient(timeout=TIMEOUT)
        self._events: deque[Event] = deque()
        self._errors: deque[dict[str, Any]] = deque()

    async def open(self, relay: Relay, room: str) -> Opened:
        await self._end()
        await self._http.aclose()
        self._relay, self._room = relay, room
        self._http = httpx.AsyncClient(timeout=TIMEOUT)
        self._events.clear()
        again = bool(self._connection_token)
        if not again:
            answer = await self.ask("GET", "negotiate", clientProtocol="2.1")
            fields = answer.json()
            if answer.status_code != 200:
                raise NotAdmitted(fields["error"]["code"])
            self._peer, self._connection_token = fields["ConnectionId"], fields["ConnectionToken"]
        try:
            await self._connect("reconnect" if again else "connect")
        except NotAdmitted:
            self._connection_token = ""
            raise
        if not again:
            started = await self.ask("GET", "start")
            assert started.json() == {"Response": "started"}
        return Opened(quote(self._peer, safe=""), again)

    async def send(self, data: Any, *, to: str = "") -> None:
        if data is BAD_FRAME:
            await self.call("{no JSON")
            return
        text = json.dumps({"message": data, "sender": self._me})
        number, self._calls = self._calls, self._calls + 1
        await self.call(json.dumps({"H": HUB, "M": "Send", "A": [text], "I": number}))

    async def refresh(self, token: str) -> None:
        raise NotImplementedError

    async def next(self) -> Event:
        while not self._events:
            try:
                await self._read()
            except Ended:
                return Closed()
        return self._events.popleft()

    async def error(self) -> dict[str, Any]:
        """Return the next error in the original's words, without its text."""
        while not self._errors:
            await self._read()
        return self._errors.popleft()

    async def close(self) -> None:
        with suppress(httpx.TransportError):
            await self.ask("POST", "abort")
        await self.drop_quietly()

    async def drop(self) -> None:
        await self.drop_quietly()

    async def drop_quietly(self) -> None:
        """Lose all connections, and send nothing more."""
        await self._end()
        await self._http.aclose()

    async def _connect(self, action: str) -> None:
        raise NotImplementedError

    async def call(self, text: str | bytes) -> None:
        """Post a call."""
        with suppress(httpx.TransportError):  # the worker may be gone
            answer = await self.ask("POST", "send", {"data": str(text)})
            fields = answer.json()
            if answer.status_code != 200:
                self._events.append(Refused(fields["error"]["code"]))
            else:
                self._take(fields)

    async def _read(self) -> None:
        """Take the next frame; raises `Ended`."""
        raise NotImplementedError

    async def _end(self) -> None:
        """Lose the connection."""

    async def _begun(self, action: str, fields: dict[str, Any]) -> None:
        """Take the first frame after a request that begins a connection."""
        if "E" in fields:
            raise NotAdmitted(fields["E"].partition(":")[0])
        assert ("S" in fields) is (action == "connect"), fields
        self._take(fields)

    def _take(self, fields: dict[str, Any]) -> None:
        self.cursor = fields.get("C", self.cursor)
        for one in [fields, *fields.get("M", [])]:
            if "E" in one and "D" in one:
                self._events.append(Refused(one["D"]["code"]))
            elif "E" in one and "I" in one:
                assert "could not be resolved." in one["E"]
                self._errors.append({"I": one["I"]})
            elif one.get("M") == "onMessageReceived":
                self._hear(json.loads(one["A"][0]))

    def _hear(self, envelope: dict[str, Any]) -> None:
        if envelope.get("sender") != self._me and "message" in envelope:
            self._events.append(Heard(envelope["message"]))

    def _path(self, action: str, **more: str) -> str:
        query = {
            "transport": self.transport,
            "clientProtocol": "2.1",
            "connectionToken": self._connection_token,
            "connectionData": json.dumps([{"name": HUB}]),
            **more,
        }
        sent = {name: value for name, value in query.items() if value}
        return f"/rooms/{quote(self._room, safe='')}/signalr/{action}?{urlencode(sent)}"

    async def ask(
        self, method: str, action: str, form: dict[str, str] | None = None, *, at: Relay | None = None, **more: str
    ) -> httpx.Response:
        """Make a request, at another worker than the one of the connection if one is given."""
        relay = at or self._relay
        assert relay is not None
        url = relay.http + self._path(action, **more)
        return await self._http.request(method, url, data=form, headers=self._headers())

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


class ClassicSocketDriver(ClassicDriver):
    """A page with a WebSocket."""

    transport = "webSockets"

    def __init__(self) -> None:
        super().__init__()
        self._socket: ClientConnection | None = None

    async def _connect(self, action: str) -> None:
        assert self._relay is not None
        url = self._relay.ws + self._path(action, messageId=self.cursor)
        try:
            # Without a bound of its queue: a client that has not read all would wait ten seconds for the answer to its
            # close.
            self._socket = await connect(
                url,
                compression=None,
                ping_interval=None,
                proxy=None,
                max_queue=None,
                additional_headers=self._headers(),
            )
            await self._begun(action, await self._frame())
        except InvalidStatus as refused:
            raise NotAdmitted(json.loads(refused.response.body)["error"]["code"]) from None
        except Ended:
            raise NotAdmitted("") from None

    async def call(self, text: str | bytes) -> None:
        assert self._socket is not None
        with suppress(ConnectionClosed):
            await self._socket.send(text)

    async def _read(self) -> None:
        self._take(await self._frame())

    async def _frame(self) -> dict[str, Any]:
        assert self._socket is not None
        try:
            async with asyncio.timeout(TIMEOUT):
                fields: dict[str, Any] = json.loads(await self._socket.recv())
        except ConnectionClosed:
            raise Ended from None
        return fields

    async def close(self) -> None:
        # As the client does: the socket is closed first, and that is no goodbye.
        assert self._socket is not None
        await self._socket.close()
        await super().close()

    async def _end(self) -> None:
        if self._socket is not None:
            self._socket.transport.abort()
            await self._socket.wait_closed()


class ClassicEventsDriver(ClassicDriver):
    """A page with an `EventSource`."""

    transport = "serverSentEvents"

    def __init__(self) -> None:
        super().__init__()
        self._stream: EventStream | None = None

    async def _connect(self, action: str) -> None:
        assert self._relay is not None
        path = self._path(action, messageId=self.cursor)
        self._stream = await EventStream.open(self._relay.port, path, **self._headers())
        if self._stream.status != 200:
            raise NotAdmitted(json.loads(await self._stream.body())["error"]["code"])
        try:
            await self._begun(action, await self._frame())
        except Ended:
            raise NotAdmitted("") from None

    async def _read(self) -> None:
        self._take(await self._frame())

    async def _frame(self) -> dict[str, Any]:
        assert self._stream is not None
        while True:
            _, fields = await self._stream.next(plain="initialized")
            if fields != "initialized":
                return dict(fields)

    async def _end(self) -> None:
        if self._stream is not None:
            await self._stream.drop()


class ClassicPollDriver(ClassicDriver):
    """A page that polls."""

    transport = "longPolling"

    def __init__(self) -> None:
        super().__init__()
        self._ended = False

    async def _connect(self, action: str) -> None:
        self._ended = False
        answer = await self.ask("POST", action, {"messageId": self.cursor} if action == "reconnect" else None)
        fields = answer.json()
        if answer.status_code != 200:
            raise NotAdmitted(fields["error"]["code"])
        await self._begun(action, fields)

    async def _read(self) -> None:
        if self._ended:
            raise Ended
        try:
            answer = await self.ask("POST", "poll", {"messageId": self.cursor})
        except httpx.TransportError:
            raise Ended from None
        fields = answer.json()
        self._ended = answer.status_code != 200 or "T" in fields or "E" in fields
        if answer.status_code != 200:
            self._events.append(Refused(fields["error"]["code"]))
        else:
            self._take(fields)

    async def drop(self) -> None:
        """Send a poll, and lose its connection."""
        if self._relay is not None and self.cursor:
            with suppress(OSError):  # the worker may be gone
                _, writer = await asyncio.open_connection("127.0.0.1", self._relay.port)
                form = urlencode({"messageId": self.cursor}).encode()
                fields = {"Host": "relay", "Content-Length": str(len(form)), **self._headers()}
                head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
                writer.write(f"POST {self._path('poll')} HTTP/1.1\r\n{head}\r\n".encode() + form)
                writer.close()
                await writer.wait_closed()
        await super().drop()
