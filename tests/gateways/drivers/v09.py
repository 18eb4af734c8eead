"""The driver of Socket.IO clients of version 0.9."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from tests.fleet import Relay
from tests.gateways.driver import BAD_FRAME, Capabilities, Closed, Event, Heard, NotAdmitted, Opened, Refused
from tests.gateways.drivers.wires import Ended, PollWire, SocketWire, TextWire

_MARK = "\ufffd"


class V09Driver:
    """A client of version 0.9, which does not know its peer id, and comes back as another member."""

    can = Capabilities(refusal_named=False, url_token=True, refresh=True)

    def __init__(self, *, polling: bool) -> None:
        self._polling = polling
        self._wire: TextWire | None = None
        self._relay: Relay | None = None
        self._sid = ""
        self.token = ""

    async def open(self, relay: Relay, room: str) -> Opened:
        if self._wire is not None:
            await self._wire.close()
        self._relay = relay
        query = f"?room={quote(room)}" + (f"&token={self.token}" if self.token else "")
        handshake = await relay.get(f"/socket.io/1/{query}")
        # A client is refused later, by a packet: this one found no worker that is ready.
        assert handshake.status_code == 200, handshake.text
        self._sid = handshake.text.partition(":")[0]
        path = f"/socket.io/1/{'xhr-polling' if self._polling else 'websocket'}/{self._sid}{query}"
        self._wire = PollWire(relay, path, split=split_payload) if self._polling else await SocketWire.open(relay, path)
        try:
            connected = await self._packet()
        except Ended as ended:
            raise NotAdmitted("") from ended
        assert connected == "1::", connected
        return Opened("", resumed=False)

    async def send(self, data: Any, *, to: str = "") -> None:
        assert self._wire is not None
        if data is BAD_FRAME:
            await self._wire.send("no packet")
        else:
            event = {"name": "message", "args": [{"message": data} | ({"to": to} if to else {})]}
            await self._wire.send(f"5:::{json.dumps(event)}")

    async def refresh(self, token: str) -> None:
        assert self._wire is not None
        await self._wire.send(f"5:::{json.dumps({'name': 'relay:refresh', 'args': [token]})}")

    async def next(self) -> Event:
        try:
            packet = await self._packet()
        except Ended:
            return Closed()
        event = json.loads(packet.removeprefix("5:::"))
        [data] = event["args"]
        if event["name"] in ("relay:token-expiring", "relay:refreshed"):
            return await self.next()
        return Refused(data["code"]) if event["name"] == "error" else Heard(data["message"])

    async def close(self) -> None:
        if self._wire is None or self._relay is None:
            return
        if self._polling:
            assert (await self._relay.get(f"/socket.io/1//{self._sid}/?disconnect=1")).status_code == 200
        else:
            await self._wire.send("0::")
        await self._wire.close()

    async def drop(self) -> None:
        if self._wire is not None:
            await self._wire.drop()

    async def _packet(self) -> str:
        """Return the next packet that is no heartbeat; raises `Ended`."""
        assert self._wire is not None
        while True:
            packet = await self._wire.receive()
            if packet == "2::":
                await self._wire.send("2::")
            elif packet[:2] in ("0:", "7:"):
                raise Ended(packet)
            elif packet != "8::":
                return packet


def split_payload(payload: str) -> Sequence[str]:
    """Take a payload apart: one packet, or several, each after U+FFFD, its length, and U+FFFD."""
    if not payload.startswith(_MARK):
        return [payload]
    packets = []
    while payload:
        _, length, rest = payload.split(_MARK, 2)
        packets.append(rest[: int(length)])
        payload = rest[int(length) :]
    return packets
