"""The driver of SimpleWebRTC."""

import json
from typing import Any

from relay.gateways.socketio.apps.signalmaster.resources import Resources
from tests.fleet import Relay
from tests.gateways.driver import BAD_FRAME, Capabilities, Closed, Event, Heard, NotAdmitted, Opened, Refused
from tests.gateways.drivers.socketio import SocketIODriver
from tests.gateways.drivers.wires import Ended

RESOURCES = json.loads(Resources().as_info())


class SignalMasterDriver(SocketIODriver):
    """A client of SimpleWebRTC, which is a Socket.IO client of version 1, and joins a room by an event.

    Its messages go to one member each. With the others it talks by the event `relay`.
    """

    def __init__(self, *, polling: bool = False) -> None:
        super().__init__(2, polling=polling)
        self.can = Capabilities(direct=True, info=RESOURCES, refusal_named=False, url_token=True, refresh=True)

    async def open(self, relay: Relay, room: str) -> Opened:
        if self._wire is not None:
            await self._wire.close()
        token = f"&token={self.token}" if self.token else ""
        self._wire = await self._connect(relay, f"/socket.io/?EIO=3&dialect=signalmaster{token}")
        await self._expect("40")
        await self._wire.send("420" + json.dumps(["join", room]))
        error, *described = json.loads(await self._expect("430"))
        if error is not None:
            raise NotAdmitted("")
        assert described[0].keys() == {"clients"}
        return Opened("", False)

    async def _expect(self, head: str) -> str:
        try:
            packet = await self._packet()
        except Ended:
            raise NotAdmitted("") from None
        if packet.startswith("44"):
            raise NotAdmitted("")
        assert packet.startswith(head), packet
        return packet.removeprefix(head)

    async def send(self, data: Any, *, to: str = "") -> None:
        assert self._wire is not None
        if data is BAD_FRAME:
            await self._wire.send("no packet")
        else:
            await self._wire.send("42" + json.dumps(["relay", {"message": data} | ({"to": to} if to else {})]))

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
            if name == "relay":
                return Heard(data["message"], data["from"])
            # It is told of members that leave, and of none that joins.
            assert name in ("remove", "relay:token-expiring", "relay:refreshed"), packet
