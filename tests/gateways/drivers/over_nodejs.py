"""The drivers of pages for the servers of demos: websocket-over-nodejs and socketio-over-nodejs."""

import json
from collections import deque
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from websockets.exceptions import ConnectionClosed

from tests.fleet import Relay
from tests.gateways.driver import BAD_FRAME, Capabilities, Closed, Event, Heard, NotAdmitted, Opened, Refused
from tests.gateways.drivers.wires import Ended, SocketWire


class WebSocketOverNodejsDriver:
    """A page that opens one channel on a plain WebSocket; every frame is data, but for the relay's own."""

    can = Capabilities(survives_bad_frame=True, url_token=True)

    def __init__(self) -> None:
        self._wire: SocketWire | None = None
        self._channel = ""
        self._frames: deque[Any] = deque()
        self.token = ""

    async def open(self, relay: Relay, room: str) -> Opened:
        self._frames.clear()
        self._channel = room
        self._wire = await SocketWire.open(relay, f"/?token={self.token}" if self.token else "/")
        # A connection that the relay has refused is closed, and its error is read all the same.
        with suppress(ConnectionClosed):
            await self._send({"open": True, "channel": room})
            # Nothing confirms that the channel is open, but the relay serves one frame after the other.
            await self._send({"checkPresence": True, "channel": room})
        while not _is(frame := await self._read(), "isChannelPresent"):
            if _is_error(frame):
                if frame.get("about") in ("join", "open"):
                    raise NotAdmitted(frame["code"])
                if frame.get("about") == "checkPresence":
                    break  # its token grants no presence
            elif frame.get("type") != "welcome":
                self._frames.append(frame)
        return Opened("", resumed=False)

    async def send(self, data: Any, *, to: str = "") -> None:
        assert self._wire is not None
        if data is BAD_FRAME:
            await self._wire.send("no JSON")
        else:
            await self._send({"channel": self._channel, "data": data})

    async def refresh(self, token: str) -> None:
        raise AssertionError("the page cannot send a newer token")

    async def next(self) -> Event:
        while True:
            try:
                frame = self._frames.popleft() if self._frames else await self._read()
            except Ended:
                return Closed()
            if _is_error(frame):
                return Refused(frame["code"])
            if not (_is(frame, "type") and frame["type"] == "token_expiring"):
                return Heard(frame)

    async def close(self) -> None:
        if self._wire is not None:
            await self._wire.close()

    async def drop(self) -> None:
        if self._wire is not None:
            await self._wire.drop()

    async def _send(self, frame: Any) -> None:
        assert self._wire is not None
        await self._wire.send(json.dumps(frame))

    async def _read(self) -> Any:
        assert self._wire is not None
        return json.loads(await self._wire.receive())


def _is(frame: Any, field: str) -> bool:
    return isinstance(frame, dict) and field in frame


def _is_error(frame: Any) -> bool:
    return _is(frame, "type") and frame["type"] == "error"


class SocketIOOverNodejsDriver:
    """A page with the client of version 0.9 that opens a channel, and talks in the namespace of it."""

    can = Capabilities(refusal_named=False, url_token=True)

    def __init__(self) -> None:
        self._wire: SocketWire | None = None
        self._namespace = ""
        self.token = ""

    async def open(self, relay: Relay, room: str) -> Opened:
        if self._wire is not None:
            await self._wire.close()
        query = f"?token={self.token}" if self.token else ""
        sid = (await relay.get(f"/socket.io/1/{query}")).text.partition(":")[0]
        self._wire = await SocketWire.open(relay, f"/socket.io/1/websocket/{sid}{query}")
        self._namespace = f"/{quote(room, safe='')}"
        with suppress(ConnectionClosed):
            # As the client does: both wait for the connection, and leave together.
            await self._emit("", "new-channel", {"channel": room, "sender": 7})
            await self._wire.send(f"1::{self._namespace}")
        connected = set()
        while len(connected) < 2:
            try:
                connected.add(await self._packet())
            except Ended:
                raise NotAdmitted("") from None
        assert connected == {"1::", f"1::{self._namespace}"}, connected
        return Opened("", resumed=False)

    async def send(self, data: Any, *, to: str = "") -> None:
        assert self._wire is not None
        if data is BAD_FRAME:
            await self._wire.send("no packet")
        else:
            await self._emit(self._namespace, "message", {"sender": 7, "data": data})

    async def refresh(self, token: str) -> None:
        raise AssertionError("the page cannot send a newer token")

    async def next(self) -> Event:
        while True:
            try:
                packet = await self._packet()
            except Ended:
                return Closed()
            _, _, namespace, text = packet.split(":", 3)
            event = json.loads(text)
            # The page does not listen to events in `/`, nor to those that other pages do not know.
            if event["name"] == "error":
                return Refused(event["args"][0]["code"])
            if event["name"] == "message" and namespace == self._namespace:
                return Heard(event["args"][0])

    async def close(self) -> None:
        if self._wire is not None:
            await self._wire.send("0::")
            await self._wire.close()

    async def drop(self) -> None:
        if self._wire is not None:
            await self._wire.drop()

    async def _emit(self, namespace: str, name: str, argument: Any) -> None:
        assert self._wire is not None
        await self._wire.send(f"5::{namespace}:{json.dumps({'name': name, 'args': [argument]})}")

    async def _packet(self) -> str:
        """Return the next packet that is no heartbeat; raises `Ended`."""
        assert self._wire is not None
        while True:
            packet = await self._wire.receive()
            if packet == "2::":
                await self._wire.send("2::")
            elif packet[:2] in ("0:", "7:"):
                raise Ended
            elif packet != "8::":
                return packet
