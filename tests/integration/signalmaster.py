"""SimpleWebRTC pages for the tests that show each packet, over WebSocket or long polling."""

import json
from typing import Any, Self

from tests.fleet import Relay
from tests.gateways.drivers.socketio import length_first, split_payload
from tests.gateways.drivers.wires import PollWire, SocketWire, TextWire

PATH = "/socket.io/?EIO=3&dialect=signalmaster"


class Page:
    """One page, whose packets are read in their order."""

    def __init__(self, wire: TextWire, sid: str) -> None:
        self.wire = wire
        self.sid = sid

    @classmethod
    async def over_websocket(cls, relay: Relay, query: str = "") -> Self:
        wire = await SocketWire.open(relay, f"{PATH}&transport=websocket{query}")
        return await cls._opened(wire)

    @classmethod
    async def over_polls(cls, relay: Relay) -> Self:
        wire = PollWire(relay, f"{PATH}&transport=polling&b64=1", split=split_payload, pack=length_first)
        page = await cls._opened(wire, then=False)
        wire.path += f"&sid={page.sid}"
        assert await page.next() == "40"
        return page

    @classmethod
    async def _opened(cls, wire: TextWire, *, then: bool = True) -> Self:
        page = cls(wire, json.loads((await wire.receive()).removeprefix("0"))["sid"])
        if then:
            assert await page.next() == "40"
        return page

    async def next(self) -> str:
        while (packet := await self.wire.receive()) in ("3", "6"):
            pass
        return packet

    async def emit(self, *values: Any, number: str = "") -> None:
        await self.wire.send(f"42{number}{json.dumps(values)}")

    async def ask(self, *values: Any) -> Any:
        """Emit with a callback; the next packet calls it."""
        await self.emit(*values, number="5")
        packet = await self.next()
        assert packet.startswith("435"), packet
        return json.loads(packet[3:])

    async def event(self) -> Any:
        return json.loads((await self.next()).removeprefix("42"))

    async def calls(self, other: "Page") -> None:
        """Send an offer, and get the answer."""
        offer = {"to": other.sid, "sid": "1", "roomType": "video", "type": "offer", "payload": {"sdp": "v=0"}}
        await self.emit("message", offer)
        assert await other.event() == ["message", offer | {"from": self.sid}]
        answer = offer | {"to": self.sid, "type": "answer"}
        await other.emit("message", answer)
        assert await self.event() == ["message", answer | {"from": other.sid}]
