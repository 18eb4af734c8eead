"""Pages of RTCMultiConnection 3 over WebSockets, as far as their server sees them."""

import asyncio
import json
from typing import Any, Self
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.fleet import Relay

MESSAGE = "RTCMultiConnection-Message"
CUSTOM = "RTCMultiConnection-Custom-Message"


class RmcPage:
    """One page; it reads all the time, and keeps answers and events."""

    def __init__(self, userid: str, socket: ClientConnection) -> None:
        self.userid = userid
        self.socket = socket
        self.pid = ""
        self.events: list[list[Any]] = []
        self._answers: dict[str, list[Any]] = {}
        self._changed = asyncio.Event()
        self._numbers = 0
        self._reading = asyncio.create_task(self._read())
        self.connected = False

    @classmethod
    async def connect(
        cls, relay: Relay, userid: str, *, pid: str = "", origin: str = "https://page.example", **query: str
    ) -> Self:
        parameters = {
            "EIO": "4", "transport": "websocket", "userid": userid, "sessionid": "page", "msgEvent": MESSAGE,
            "socketCustomEvent": CUSTOM, "autoCloseEntireSession": "false", "maxParticipantsAllowed": "1000",
            "extra": "{}", **query,
        }  # fmt: skip
        url = f"{relay.ws}/socket.io/?{urlencode(parameters)}"
        socket = await connect(
            url, compression=None, ping_interval=None, proxy=None, additional_headers={"Origin": origin}
        )
        page = cls(userid, socket)
        await socket.send("40" + (json.dumps({"pid": pid}) if pid else ""))
        await page.until(lambda: page.connected)
        return page

    async def _read(self) -> None:
        try:
            while True:
                self._take(str(await self.socket.recv()))
        except ConnectionClosed:
            self._changed.set()

    def _take(self, packet: str) -> None:
        if packet == "2":
            self._reply = asyncio.create_task(self.socket.send("3"))
        elif packet.startswith("40"):
            self.pid = json.loads(packet[2:]).get("pid", "")
            self.connected = True
        elif packet.startswith("42"):
            self.events.append(json.loads(packet[2:]))
        elif packet.startswith("43"):
            start = packet.index("[")
            self._answers[packet[2:start]] = json.loads(packet[start:])
        self._changed.set()

    async def until(self, condition: Any, timeout: float = 60) -> Any:
        async with asyncio.timeout(timeout):
            while not (found := condition()):
                self._changed.clear()
                await self._changed.wait()
        return found

    async def emit(self, name: str, *values: Any, number: str = "") -> None:
        await self.socket.send(f"42{number}{json.dumps([name, *values])}")

    async def ask(self, name: str, *values: Any) -> list[Any]:
        number = str(self._numbers)
        self._numbers += 1
        await self.emit(name, *values, number=number)
        await self.until(lambda: number in self._answers)
        return self._answers.pop(number)

    async def heard(self, name: str) -> list[Any]:
        def find() -> list[Any] | None:
            return next((one for one in self.events if one[0] == name), None)

        event: list[Any] = await self.until(find)
        self.events.remove(event)
        return event[1:]

    async def open(self, room: str, **more: Any) -> list[Any]:
        return await self.ask("open-room", asked(room, **more))

    async def join(self, room: str, **more: Any) -> list[Any]:
        return await self.ask("join-room", asked(room, **more))

    async def send(self, to: str, message: Any) -> None:
        await self.emit(MESSAGE, {"remoteUserId": to, "message": message, "sender": self.userid})

    async def hears(self, other: "RmcPage") -> None:
        """Check that a signal of another page arrives here."""
        await other.send(self.userid, {"check": True})
        while (await self.heard(MESSAGE))[0]["message"] != {"check": True}:
            pass

    def lose(self) -> None:
        self.socket.transport.abort()

    async def close(self) -> None:
        self._reading.cancel()
        await self.socket.close()


def asked(room: str, **more: Any) -> dict[str, Any]:
    return {"sessionid": room, "session": {"data": True}, "extra": {}, "identifier": "", "password": "", **more}
