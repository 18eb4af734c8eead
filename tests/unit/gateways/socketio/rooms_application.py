"""An application with state for tests of its session and its port, and clients of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from relay.config import Settings
from relay.gateways.base.join_request import JoinRequest
from relay.gateways.socketio.apps.application import Opened, OutgoingPacket, reply_to
from relay.gateways.socketio.apps.choice import Applications
from relay.gateways.socketio.apps.port import ClientPort
from relay.gateways.socketio.apps.relay import RelayApplication
from relay.gateways.socketio.client import SocketIOClient
from relay.gateways.socketio.encoders import ModernEncoder, OutgoingEvent
from relay.gateways.socketio.engine import EngineSession, EngineSessions, SessionProfile
from relay.gateways.socketio.namespaces import ProtocolVersion
from relay.gateways.socketio.packets import FRAMINGS
from relay.gateways.socketio.parser import IncomingEvent
from relay.gateways.socketio.payload_writer import PayloadWriter
from relay.model.codec import Frame
from relay.model.commands import Publish
from relay.model.errors import Refused, RelayError
from relay.model.events import Event, Failure, Message, PresenceChange
from relay.model.publication import Receipt
from relay.rooms.worker import Worker
from tests.unit.gateways.socketio.clients import FakeConnection


class Rooms:
    """An application: `enter` and `leave` a room, `say` something there, `fail` in several ways."""

    key = "rooms"
    namespaces = ("/chat",)

    def recognises(self, query: Mapping[str, str]) -> bool:
        return "name" in query

    def client(self, port: ClientPort) -> RoomsClient:
        return RoomsClient(port)

    def packets(self, event: Event) -> Sequence[OutgoingPacket]:
        assert isinstance(event, Message)
        return [OutgoingEvent(b'"said"', [event.envelope])]


class RoomsClient:
    def __init__(self, port: ClientPort) -> None:
        self.port = port
        self.ends: list[bool] = []

    async def open(self) -> Opened:
        name = self.port.handshake.query.get("name", "")
        if name == "bad":
            raise Refused("bad_peer")
        return Opened(name, "")

    async def opened(self) -> None:
        self.port.socket.emit("hello", self.port.handshake.origin, self.port.handshake.address)

    def received(self, event: IncomingEvent) -> Coroutine[Any, Any, None] | None:
        values = json.loads(b"[%b]" % event.data)
        match event.name:
            case "enter":
                return self._enter(values[0], event.id)
            case "leave":
                return self._leave(event.id)
            case "say":
                envelope = json.dumps({"message": values[0]}).encode()
                self.port.publisher.publish(Publish(envelope), partial(self._said, event.id))
            case "info":
                return self._change_info(json.dumps(values[0]).encode(), event.id)
            case "refresh":
                return self._refresh(values[0], event.id)
            case "end":
                self.port.socket.disconnect()
            case "announce":
                self.port.socket.announce_sid()
            case "refuse":
                raise Refused("not_granted")
            case "fail":
                raise ValueError("a fault of the application")
        return None

    async def _enter(self, room: str, number: str) -> None:
        request = JoinRequest(room, self.port.handshake.query["name"], presence=True, can_resume=False)
        welcome = await self.port.membership.enter(request)
        self.port.socket.acknowledge(number, welcome.room, welcome.first, [one.peer for one in welcome.roster.members])  # type: ignore[union-attr]

    async def _leave(self, number: str) -> None:
        await self.port.membership.leave()
        self.port.socket.acknowledge(number, self.port.membership.room)

    async def _change_info(self, info: bytes, number: str) -> None:
        await self.port.presence.change_info(info)
        self.port.socket.acknowledge(number)

    async def _refresh(self, token: str, number: str) -> None:
        self.port.socket.acknowledge(number, await self.port.permissions.refresh(token))

    def _said(self, number: str, outcome: Receipt | RelayError) -> None:
        self.port.socket.acknowledge(number, outcome.code if isinstance(outcome, RelayError) else True)

    def deliver(self, event: Event) -> bool:
        if isinstance(event, PresenceChange):
            self.port.socket.emit("presence", event.joined, event.left)
        elif isinstance(event, Failure):
            asked = reply_to(event.key)
            if asked is not None:
                self.port.socket.acknowledge(asked.number, event.code)
        return isinstance(event, Message)

    def ended(self, *, goodbye: bool) -> None:
        self.ends.append(goodbye)


class Client:
    def __init__(self, connection: FakeConnection, session: EngineSession) -> None:
        self.connection = connection
        self.session = session
        self.taken = 1

    def say(self, *messages: str) -> None:
        for one in messages:
            self.session.received(Frame(one.encode()))

    async def next(self) -> str:
        await self.connection.until(lambda: len(self.connection.written) > self.taken)
        self.taken += 1
        return self.connection.written[self.taken - 1].decode()


class Site:
    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.sessions = EngineSessions(worker)
        self._version = ProtocolVersion(worker.settings, "socketio4", partial(ModernEncoder, 4))
        relay = RelayApplication(allowed=("*",), max_size=1000, offsets=False)
        self._version.applications = Applications(relay, [Rooms()])

    async def open(self, name: str, token: str = "") -> Client:
        handler = partial(SocketIOClient, self._version, 4, {"name": name}, token, origin="https://page")
        connection = FakeConnection()
        opening = self.sessions.opening(SessionProfile(PayloadWriter(FRAMINGS[4]), handler))
        session, opened = opening(connection, self.worker.admissions.admit("here", "socketio"))
        await opened
        assert isinstance(session, EngineSession)
        client = Client(connection, session)
        client.say("40")
        return client

    async def enter(self, name: str, token: str = "") -> Client:
        client = await self.open(name, token)
        assert [await client.next(), await client.next()] == [
            f'40{{"sid":"{name}"}}',
            '42["hello","https://page","here"]',
        ]
        return client


@asynccontextmanager
async def site(**settings: Any) -> AsyncIterator[Site]:
    async with Worker(Settings(**settings)) as worker:
        yield Site(worker)
