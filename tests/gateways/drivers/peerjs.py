"""The driver of PeerJS clients, which talk to others by frames of the type RELAY."""

import json
import secrets
from typing import Any
from urllib.parse import quote

from tests.fleet import Relay
from tests.gateways.driver import BAD_FRAME, Capabilities, Closed, Event, Heard, NotAdmitted, Opened, Refused
from tests.gateways.drivers.wires import Ended, SocketWire


class PeerJSDriver:
    """A `Peer` that gets its id from the relay, and calls `reconnect()` with the same id and token."""

    can = Capabilities(held=True, resume=True, direct=True, survives_bad_frame=True, url_token=True)

    def __init__(self) -> None:
        self._wire: SocketWire | None = None
        self._id = ""
        self._secret = secrets.token_hex(8)
        self.token = ""

    async def open(self, relay: Relay, room: str) -> Opened:
        path, key, known = f"/rooms/{quote(room, safe='')}", self.token or "peerjs", self._id
        if not known:
            response = await relay.get(f"{path}/{key}/id?ts=1&version=1.5.5")
            if response.status_code != 200:
                raise NotAdmitted(response.json()["error"]["code"])
            self._id = response.text
        query = f"key={key}&id={quote(self._id)}&token={self._secret}&version=1.5.5"
        self._wire = await SocketWire.open(relay, f"{path}/peerjs?{query}")
        first = json.loads(await self._wire.receive())
        if first["type"] == "ERROR":
            raise NotAdmitted(first["payload"]["code"])
        assert first == {"type": "OPEN"}
        return Opened(quote(self._id), resumed=bool(known))

    async def send(self, data: Any, *, to: str = "") -> None:
        assert self._wire is not None
        if data is BAD_FRAME:
            await self._wire.send("no JSON")
        else:
            frame = {"type": "RELAY", "payload": {"message": data}} | ({"dst": to} if to else {})
            await self._wire.send(json.dumps(frame))

    async def next(self) -> Event:
        assert self._wire is not None
        try:
            frame = json.loads(await self._wire.receive())
        except Ended:
            return Closed()
        if frame["type"] == "RELAY-ERROR":
            return Refused(frame["payload"]["code"])
        assert frame["type"] == "RELAY", frame
        # An event of Socket.IO that is no envelope comes with its arguments.
        content = frame["payload"] if "message" in frame["payload"] else frame["payload"]["args"][0]
        return Heard(content["message"], frame["src"])

    async def close(self) -> None:
        if self._wire is not None:
            await self._wire.close()

    async def drop(self) -> None:
        if self._wire is not None:
            await self._wire.drop()
