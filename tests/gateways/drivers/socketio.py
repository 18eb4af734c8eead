"""The drivers of Socket.IO clients of the versions 2, 3 and 4."""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from tests.fleet import Relay
from tests.gateways.driver import BAD_FRAME, Capabilities, Closed, Event, Heard, NotAdmitted, Opened, Refused
from tests.gateways.drivers.wires import Ended, PollWire, SocketWire, TextWire


class SocketIODriver:
    """A client of version 4, which recovers its connection state, or of version 3 or 2, which cannot.

    The versions 3 and 4 are the same on the wire, and the relay cannot distinguish them: it holds the membership of
    both. Version 2 is a revision of Engine.IO before.
    """

    def __init__(self, version: int, *, polling: bool) -> None:
        self.can = Capabilities(
            held=version > 2,
            resume=version == 4,
            refusal_named=version > 2,
            url_token=version == 2,
            refresh=True,
        )
        self.token = ""
        self._version = version
        self._polling = polling
        self._wire: TextWire | None = None
        self._claim: dict[str, str] = {}

    async def open(self, relay: Relay, room: str) -> Opened:
        if self._wire is not None:
            await self._wire.close()
        path = f"/socket.io/?EIO={min(4, self._version + 1)}&room={quote(room)}"
        if self.token and self._version == 2:
            path += f"&token={self.token}"
        self._wire = await self._connect(relay, path)
        if self._version > 2:
            await self._wire.send("40" + json.dumps(self._claim | ({"token": self.token} if self.token else {})))
        packet = await self._packet()
        if packet.startswith("44"):
            error = json.loads(packet[2:])
            raise NotAdmitted(error["data"]["code"] if self._version > 2 else "")
        entered = json.loads(packet.removeprefix("40") or "{}")
        claimed = self._claim.get("pid")
        if self._version == 4 and entered["pid"] != claimed:
            self._claim = {"pid": entered["pid"]}
        return Opened(entered.get("sid", ""), claimed is not None and entered["pid"] == claimed)

    async def _connect(self, relay: Relay, path: str) -> TextWire:
        if not self._polling:
            socket = await SocketWire.open(relay, path + "&transport=websocket")
            opened = await socket.receive()
            assert opened[0] == "0", opened
            return socket
        split, pack = (split_payload, length_first) if self._version == 2 else (partial(str.split, sep="\x1e"), str)
        # With b64, the relay writes payloads of version 2 as text.
        path += "&transport=polling" + "&b64=1" * (self._version == 2)
        polls = PollWire(relay, path, split=split, pack=pack)
        opened = await polls.receive()
        assert opened[0] == "0", opened
        polls.path += "&sid=" + json.loads(opened[1:])["sid"]
        return polls

    async def send(self, data: Any, *, to: str = "") -> None:
        assert self._wire is not None
        if data is BAD_FRAME:
            await self._wire.send("no packet")
        else:
            await self._wire.send("42" + json.dumps(["message", {"message": data} | ({"to": to} if to else {})]))

    async def refresh(self, token: str) -> None:
        assert self._wire is not None
        await self._wire.send("42" + json.dumps(["relay:refresh", token]))

    async def next(self) -> Event:
        while True:
            try:
                packet = await self._packet()
            except Ended:
                return Closed()
            assert packet.startswith("42"), packet
            name, data = json.loads(packet[2:])
            if name == "error":
                return Refused(data["code"])
            if name in ("relay:token-expiring", "relay:refreshed"):
                continue
            if self._version > 2:
                await self._take_offset()
            if name == "message":
                return Heard(data["message"])
            assert name == "relay:joined", packet

    async def _take_offset(self) -> None:
        """Read the event that follows each event of the room; only version 4 sends its argument back."""
        name, offset = json.loads((await self._packet()).removeprefix("42"))
        assert name == "relay:position", name
        if self._version == 4:
            self._claim["offset"] = offset

    async def close(self) -> None:
        if self._wire is not None:
            await self._wire.send("41")
            await self._wire.send("1")
            await self._wire.close()

    async def drop(self) -> None:
        if self._wire is not None:
            await self._wire.drop()

    async def _packet(self) -> str:
        """Return the next packet that is not one of Engine.IO; raises `Ended`."""
        assert self._wire is not None
        while True:
            packet = await self._wire.receive()
            if packet == "2":
                await self._wire.send("3")
            elif packet == "1":
                raise Ended
            elif packet != "6":
                return packet


def split_payload(payload: str) -> Sequence[str]:
    """Take the payload of Engine.IO 3 apart: each packet follows its length in characters, and a colon."""
    packets = []
    while payload:
        length, _, rest = payload.partition(":")
        packets.append(rest[: int(length)])
        payload = rest[int(length) :]
    return packets


def length_first(packet: str) -> str:
    """Write a payload of Engine.IO 3 with one packet."""
    return f"{len(packet)}:{packet}"
