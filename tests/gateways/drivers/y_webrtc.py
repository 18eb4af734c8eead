"""The driver of the npm package y-webrtc, for which a room is a topic."""

import json
from collections import deque
from contextlib import suppress
from typing import Any

from websockets.exceptions import ConnectionClosed

from tests.fleet import Relay
from tests.gateways.driver import BAD_FRAME, Capabilities, Closed, Event, Heard, NotAdmitted, Opened, Refused
from tests.gateways.drivers.wires import Ended, SocketWire


class YWebrtcDriver:
    """A page that subscribes to one topic, and does not know its peer id; it comes back as another member."""

    can = Capabilities(survives_bad_frame=True, channel="y-webrtc", url_token=True)

    def __init__(self) -> None:
        self._wire: SocketWire | None = None
        self._topic = ""
        self._frames: deque[dict[str, Any]] = deque()
        self.token = ""

    async def open(self, relay: Relay, room: str) -> Opened:
        self._frames.clear()
        self._topic = room
        self._wire = await SocketWire.open(relay, f"/?token={self.token}" if self.token else "/")
        # A connection that the relay has refused is closed, and its error is read all the same.
        with suppress(ConnectionClosed):
            await self._send({"type": "subscribe", "topics": [room]})
            # Nothing confirms a subscription, but the relay serves one command after the other.
            await self._send({"type": "ping"})
        while (frame := await self._read())["type"] != "pong":
            if frame["type"] == "error" and frame.get("about") in ("join", "subscribe"):
                raise NotAdmitted(frame["code"])
            self._frames.append(frame)
        return Opened("", resumed=False)

    async def send(self, data: Any, *, to: str = "") -> None:
        assert self._wire is not None
        if data is BAD_FRAME:
            await self._wire.send("no JSON")
        else:
            await self._send({"type": "publish", "topic": self._topic, "data": data})

    async def refresh(self, token: str) -> None:
        raise AssertionError("the package cannot send a newer token")

    async def next(self) -> Event:
        while True:
            try:
                frame = self._frames.popleft() if self._frames else await self._read()
            except Ended:
                return Closed()
            # The package ignores frames of other types, which are the native protocol's.
            if frame["type"] == "publish":
                assert frame["topic"] == self._topic
                return Heard(frame["data"])
            if frame["type"] == "error":
                return Refused(frame["code"])

    async def close(self) -> None:
        if self._wire is not None:
            await self._send({"type": "unsubscribe", "topics": [self._topic]})
            await self._wire.close()

    async def drop(self) -> None:
        if self._wire is not None:
            await self._wire.drop()

    async def _send(self, frame: dict[str, Any]) -> None:
        assert self._wire is not None
        await self._wire.send(json.dumps(frame))

    async def _read(self) -> dict[str, Any]:
        assert self._wire is not None
        frame: dict[str, Any] = json.loads(await self._wire.receive())
        return frame
