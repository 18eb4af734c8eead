"""Pages of RTCMultiConnection 3 without a browser and a network: they send and hear the events of the library."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from relay.config import Settings
from relay.gateways.socketio.client import SocketIOClient
from relay.gateways.socketio.encoders import ModernEncoder
from relay.gateways.socketio.engine import EngineSession, EngineSessions, SessionProfile
from relay.gateways.socketio.namespaces import ProtocolVersion
from relay.gateways.socketio.packets import FRAMINGS
from relay.gateways.socketio.payload_writer import PayloadWriter
from relay.model.codec import Batch, Frame
from relay.model.errors import NORMAL, CloseReason
from relay.rooms.connection import Transfer
from relay.rooms.worker import Worker

MESSAGE = "RTCMultiConnection-Message"
CUSTOM = "RTCMultiConnection-Custom-Message"


class Socket:
    """A connection that reads the packets which are written to it; `silent`: TCP does not show that they arrive."""

    lost = False
    silent = False

    def __init__(self) -> None:
        self.reason: CloseReason | None = None
        self.connected: dict[str, Any] | None = None
        self.refused: Any = None
        self.ended = False
        self.answers: dict[str, list[Any]] = {}
        self.events: list[list[Any]] = []
        self.changed = asyncio.Event()
        self._bytes = 0

    def transfer(self) -> Transfer | None:
        return None if self.reason else Transfer(self._bytes, 0 if self.silent else self._bytes)

    def write(self, frame: Frame) -> None:
        for part in frame.parts:
            self._bytes += len(part.data)
            self._read(part.data.decode())
        self.changed.set()

    def write_batch(self, batch: Batch) -> None:
        for frame in batch.frames:
            self.write(frame)

    def close(self, reason: CloseReason) -> None:
        self.reason = self.reason or reason
        self.changed.set()

    def pause_reading(self, *, paused: bool) -> None:
        pass

    def _read(self, packet: str) -> None:
        if packet.startswith("40"):
            self.connected = json.loads(packet[2:] or "{}")
        elif packet.startswith("41"):
            self.ended = True
        elif packet.startswith("42"):
            self.events.append(json.loads(packet[2:]))
        elif packet.startswith("43"):
            start = packet.index("[")
            self.answers[packet[2:start]] = json.loads(packet[start:])
        elif packet.startswith("44"):
            self.refused = json.loads(packet[2:])

    async def until(self, condition: Callable[[], Any]) -> Any:
        async with asyncio.timeout(20):
            while not (found := condition()):
                self.changed.clear()
                await self.changed.wait()
        return found


class Page:
    """One page, whose `userid` is that of its handshake."""

    def __init__(self, userid: str, socket: Socket, session: EngineSession) -> None:
        self.userid = userid
        self.socket = socket
        self.session = session
        self._numbers = 0

    def emit(self, name: str, *values: Any, number: str = "") -> None:
        self.session.received(Frame(f"42{number}{json.dumps([name, *values])}".encode()))

    async def ask(self, name: str, *values: Any) -> list[Any]:
        """Emit an event, and return the arguments of its callback."""
        number = str(self._numbers)
        self._numbers += 1
        self.emit(name, *values, number=number)
        return await self.answered(number)

    async def answered(self, number: str) -> list[Any]:
        """Return the arguments of the callback of this number."""
        await self.socket.until(lambda: number in self.socket.answers)
        return self.socket.answers[number]

    async def heard(self, name: str) -> list[Any]:
        """Take the first event of this name that has not been taken, and return its arguments."""

        def find() -> list[Any] | None:
            return next((one for one in self.socket.events if one[0] == name), None)

        event = await self.socket.until(find)
        self.socket.events.remove(event)
        return event[1:]

    def names(self) -> list[str]:
        """The names of the events that have not been taken."""
        return [event[0] for event in self.socket.events]

    async def open(self, room: str, **more: Any) -> list[Any]:
        return await self.ask("open-room", asked(room, **more))

    async def join(self, room: str, **more: Any) -> list[Any]:
        return await self.ask("join-room", asked(room, **more))

    def send(self, to: str, message: Any, **more: Any) -> None:
        self.emit(MESSAGE, {"remoteUserId": to, "message": message, "sender": self.userid, **more})

    def request(self, room: str) -> None:
        """Ask to take part, as the library does once it has joined."""
        self.send(room, {"newParticipationRequest": True, "isOneWay": False})

    def lose(self) -> None:
        """Lose the connection, as by a bad network."""
        self.session.disconnected(1006, None)

    def leave(self) -> None:
        """Close the page."""
        self.session.disconnected(NORMAL.code, None)


def asked(room: str, **more: Any) -> dict[str, Any]:
    """The argument of `open-room` and `join-room`."""
    return {"sessionid": room, "session": {"data": True}, "extra": {}, "identifier": "", "password": "", **more}


class Site:
    """A worker to which pages connect."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._sessions = EngineSessions(worker)
        self._version = ProtocolVersion(worker.settings, "socketio4", partial(ModernEncoder, 4), offsets=True)

    async def connect(
        self,
        userid: str,
        *,
        address: str = "10.0.0.1",
        origin: str = "https://page",
        pid: str = "",
        token: str = "",
        **query: str,
    ) -> Page:
        """Connect a page; it may be refused."""
        marks = {"userid": userid, "msgEvent": MESSAGE, "socketCustomEvent": CUSTOM, **query}
        handler = partial(SocketIOClient, self._version, 4, marks, token, origin=origin)
        socket = Socket()
        opening = self._sessions.opening(SessionProfile(PayloadWriter(FRAMINGS[4]), handler))
        session, opened = opening(socket, self.worker.admissions.admit(address, "socketio"))
        await opened
        assert isinstance(session, EngineSession)
        page = Page(userid, socket, session)
        session.received(Frame(b"40" + (json.dumps({"pid": pid}).encode() if pid else b"")))
        await socket.until(lambda: socket.connected is not None or socket.refused is not None or socket.reason)
        return page

    async def members(self, room: str) -> list[str]:
        """The peer ids of the members of a room, held ones included."""
        return [one.peer for one in (await self.worker.roster(room)).members]


@asynccontextmanager
async def site(**settings: Any) -> AsyncIterator[Site]:
    async with Worker(Settings(**settings)) as worker:
        await worker.wait_until_ready()
        yield Site(worker)


async def room_of(one: Site, *userids: str, room: str = "r") -> list[Page]:
    """Pages in one room, of which the first one has opened it."""
    pages = [await one.connect(userid) for userid in userids]
    assert await pages[0].open(room) == [True]
    for page in pages[1:]:
        assert await page.join(room) == [True]
    return pages
