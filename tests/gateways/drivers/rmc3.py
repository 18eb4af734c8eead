"""The driver of pages of RTCMultiConnection 3, which talk to others by a custom event."""

import json
import secrets
from typing import Any
from urllib.parse import quote

from relay.model.base64_text import read_base64
from tests.fleet import Relay
from tests.gateways.driver import BAD_FRAME, Capabilities, Closed, Event, Heard, NotAdmitted, Opened, Refused
from tests.gateways.drivers.wires import Ended, SocketWire

_MARKS = "EIO=4&transport=websocket&msgEvent=RTCMultiConnection-Message&socketCustomEvent=message"


class Rmc3Driver:
    """A page that joins a room of this name. One whose connection was lost only connects again: it is in its room."""

    can = Capabilities(held=True, resume=True, url_token=True, refresh=True)

    def __init__(self) -> None:
        self._wire: SocketWire | None = None
        self._userid = secrets.token_hex(8)
        self._claim: dict[str, str] = {}
        self._early: list[str] = []
        self.token = ""

    async def open(self, relay: Relay, room: str) -> Opened:
        if self.token and (subject := subject_of(self.token)):
            # A page has its own user id, and sets it to the one that its token is for.
            self._userid = subject
        token, known = f"&token={quote(self.token)}" if self.token else "", bool(self._claim)
        self._wire = await SocketWire.open(relay, f"/socket.io/?{_MARKS}&userid={quote(self._userid)}{token}")
        assert (await self._wire.receive())[0] == "0"
        await self._wire.send("40" + json.dumps(self._claim))
        packet = await self._packet()
        if packet.startswith("44"):
            raise NotAdmitted(json.loads(packet[2:])["data"]["code"])
        self._claim = {"pid": json.loads(packet[2:])["pid"]}
        if known:
            # The events that the page has missed come before the answer.
            assert await self._ask("get-remote-user-extra-data", self._userid) == [{}]
        else:
            answer = await self._ask("join-room", {"sessionid": room})
            if answer[1:] == ["Room not available"]:
                answer = await self._ask("open-room", {"sessionid": room})
            if answer != [True]:
                raise NotAdmitted(answer[1].partition(":")[0])
        # A page always asks for joins and leaves. One that may not have them learns that by an event.
        self._early = [packet for packet in self._early if "joins and leaves are not sent" not in packet]
        return Opened(quote(self._userid), resumed=known)

    async def _ask(self, *values: Any) -> list[Any]:
        assert self._wire is not None
        await self._wire.send("420" + json.dumps(values))
        packet = await self._packet()
        while not packet.startswith("430"):
            self._early.append(packet)
            packet = await self._packet()
        answer: list[Any] = json.loads(packet[3:])
        return answer

    async def send(self, data: Any, *, to: str = "") -> None:
        assert self._wire is not None
        if data is BAD_FRAME:
            await self._wire.send("no packet")
        else:
            await self._wire.send("42" + json.dumps(["message", {"message": data}]))

    async def refresh(self, token: str) -> None:
        assert self._wire is not None
        await self._wire.send("42" + json.dumps(["relay:refresh", token]))

    async def next(self) -> Event:
        while True:
            try:
                packet = self._early.pop(0) if self._early else await self._packet()
            except Ended:
                return Closed()
            if packet.startswith("41"):
                continue
            name, *values = json.loads(packet.removeprefix("42"))
            if name == "logs":
                return Refused(values[0].partition(":")[0])
            if name == "message":
                return Heard(values[0]["message"])

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


def subject_of(token: str) -> str:
    """Return the subject of a token, "" for one that has none, or is no token."""
    try:
        claims = json.loads(read_base64(token.split(".")[1].encode()))
    except (IndexError, ValueError):
        return ""
    return str(claims.get("sub", ""))
