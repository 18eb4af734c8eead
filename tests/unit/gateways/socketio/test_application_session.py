"""Clients of an application with state: connected in no room, answered by it, in a room when they ask for it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from relay.config import Settings
from relay.gateways.base.join_request import JoinRequest
from relay.gateways.socketio.application_session import ApplicationConnection, ApplicationSession
from relay.gateways.socketio.apps.application import ClientPort, Opened, OutgoingPacket, reply_to
from relay.gateways.socketio.apps.choice import Applications
from relay.gateways.socketio.apps.relay import RelayApplication
from relay.gateways.socketio.client import SocketIOClient
from relay.gateways.socketio.codec import NOTHING, EventFrame
from relay.gateways.socketio.encoders import ModernEncoder, OutgoingEvent
from relay.gateways.socketio.engine import EngineSession, EngineSessions, SessionProfile
from relay.gateways.socketio.namespaces import ProtocolVersion
from relay.gateways.socketio.packets import FRAMINGS
from relay.gateways.socketio.parser import IncomingEvent
from relay.gateways.socketio.payload_writer import PayloadWriter
from relay.model.codec import Frame
from relay.model.commands import Publish
from relay.model.envelope import MessageId, Receipt
from relay.model.errors import INTERNAL, NORMAL, Refused, RelayError
from relay.model.events import Event, Failure, Message, PresenceChange
from relay.rooms.connection import Transfer
from relay.rooms.worker import Worker
from tests.tokens import SECRET, token
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
        self.port.emit("hello", self.port.handshake.origin, self.port.handshake.address)

    def received(self, event: IncomingEvent) -> Coroutine[Any, Any, None] | None:
        values = json.loads(b"[%b]" % event.data)
        match event.name:
            case "enter":
                return self._enter(values[0], event.id)
            case "leave":
                return self._leave(event.id)
            case "say":
                envelope = json.dumps({"message": values[0]}).encode()
                self.port.publish(Publish(envelope), partial(self._said, event.id))
            case "info":
                return self._change_info(json.dumps(values[0]).encode(), event.id)
            case "refresh":
                return self._refresh(values[0], event.id)
            case "announce":
                self.port.announce_sid()
            case "refuse":
                raise Refused("not_granted")
            case "fail":
                raise ValueError("a fault of the application")
        return None

    async def _enter(self, room: str, number: str) -> None:
        request = JoinRequest(room, self.port.handshake.query["name"], presence=True, can_resume=False)
        welcome = await self.port.enter_room(request)
        self.port.acknowledge(number, welcome.room, welcome.first, [one.peer for one in welcome.roster.members])  # type: ignore[union-attr]

    async def _leave(self, number: str) -> None:
        await self.port.leave_room()
        self.port.acknowledge(number, self.port.room)

    async def _change_info(self, info: bytes, number: str) -> None:
        await self.port.change_info(info)
        self.port.acknowledge(number)

    async def _refresh(self, token: str, number: str) -> None:
        self.port.acknowledge(number, await self.port.refresh(token))

    def _said(self, number: str, outcome: Receipt | RelayError) -> None:
        self.port.acknowledge(number, outcome.code if isinstance(outcome, RelayError) else True)

    def deliver(self, event: Event) -> bool:
        if isinstance(event, PresenceChange):
            self.port.emit("presence", event.joined, event.left)
        elif isinstance(event, Failure):
            asked = reply_to(event.key)
            if asked is not None:
                self.port.acknowledge(asked.number, event.code)
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


async def test_a_client_is_connected_in_no_room() -> None:
    async with site() as one:
        await one.enter("ann")
        assert (await one.worker.list_rooms()).rooms == []


async def test_a_client_that_the_application_refuses_gets_the_error() -> None:
    async with site() as one:
        client = await one.open("bad")
        assert (await client.next()).startswith("44{")


async def test_a_client_enters_a_room_when_it_asks_and_is_answered_with_what_the_application_says() -> None:
    async with site() as one:
        ann, ben = await one.enter("ann"), await one.enter("ben")
        ann.say('420["enter","r"]')
        assert await ann.next() == '430["r",true,["ann"]]'
        ben.say('427["enter","r"]')
        assert await ben.next() == '437["r",false,["ann","ben"]]'
        assert await ann.next() == '42["presence",["ben"],[]]'
        assert (await one.worker.list_rooms()).rooms == [("r", 2)]


async def test_messages_reach_the_room_and_have_an_outcome() -> None:
    async with site() as one:
        ann, ben = await one.enter("ann"), await one.enter("ben")
        ann.say('420["say","lost"]')
        assert await ann.next() == '430["not_joined"]'
        ann.say('421["enter","r"]')
        await ann.next()
        ben.say('421["enter","r"]')
        await ben.next()
        await ann.next()
        ann.say('422["say","one"]', '42["say","two"]')
        assert await ann.next() == "432[true]"
        assert [await ben.next(), await ben.next()] == [
            '42["said",{"message": "one"}]',
            '42["said",{"message": "two"}]',
        ]


async def test_later_events_wait_for_an_event_that_asks_redis() -> None:
    async with site() as one:
        ann = await one.enter("ann")
        ann.say('420["enter","r"]', '421["leave"]', '422["enter","s"]', '423["leave"]')
        assert [await ann.next() for _ in range(4)] == [
            '430["r",true,["ann"]]', '431[""]', '432["s",true,["ann"]]', '433[""]',
        ]  # fmt: skip
        assert (await one.worker.list_rooms()).rooms == []


async def test_errors_come_back_to_the_application_with_the_key_of_the_event() -> None:
    async with site() as one:
        ann = await one.enter("ann")
        ann.say('420["refuse"]', '421["enter","a b"]', '422["enter","r"]', '423["enter","s"]')
        assert await ann.next() == '430["not_granted"]'
        assert await ann.next() == '431["bad_room"]'
        assert await ann.next() == '432["r",true,["ann"]]'
        assert await ann.next() == '433["already_joined"]'


async def test_an_event_that_nests_too_deep_is_refused_with_its_key() -> None:
    async with site() as one:
        ann = await one.enter("ann")
        ann.say('420["say",' + "[" * 600 + "]" * 600 + "]")
        assert await ann.next() == '430["bad_json"]'


async def test_a_fault_of_the_application_closes_its_client_alone() -> None:
    async with site() as one:
        ann, ben = await one.enter("ann"), await one.enter("ben")
        ann.say('420["fail"]')
        await ann.connection.until(lambda: ann.connection.reason)
        assert ann.connection.reason is INTERNAL
        ben.say('420["enter","r"]')
        assert await ben.next() == '430["r",true,["ben"]]'


async def test_a_client_that_goes_leaves_its_room_and_its_state_ends_once() -> None:
    async with site() as one:
        ann, ben = await one.enter("ann"), await one.enter("ben")
        for client in (ann, ben):
            client.say('420["enter","r"]')
            await client.next()
        await ann.next()
        handler: Any = ben.session._handler
        session: ApplicationSession = handler._namespaces.session("/")
        state: Any = session._client
        ben.session.disconnected(NORMAL.code, None)
        assert await ann.next() == '42["presence",[],["ben"]]'
        assert state.ends == [True]


async def test_the_application_may_end_its_client() -> None:
    async with site() as one:
        ann = await one.enter("ann")
        handler: Any = ann.session._handler
        handler._namespaces.session("/").disconnect()
        assert await ann.next() == "41"
        assert handler._namespaces.session("/") is None


async def test_a_client_changes_its_info_and_the_part_of_its_token_stays() -> None:
    async with site(auth="required", auth_secret=SECRET) as one:
        ann = await one.enter("ann", token(sub="ann", rooms=["r"], info={"role": "x"}))
        ann.say('420["info",{"a":1}]', '421["enter","r"]', '422["info",{"a":2}]')
        assert [await ann.next() for _ in range(3)] == ['430["not_joined"]', '431["r",true,["ann"]]', "432[]"]
        (member,) = (await one.worker.roster("r")).members
        assert json.loads(member.info) == {"$token": {"role": "x"}, "a": 2}


async def test_a_newer_token_counts_for_what_follows() -> None:
    async with site(auth="required", auth_secret=SECRET, auth_leeway=0) as one:
        ann = await one.enter("ann", token(sub="ann", rooms=["r"]))
        newer = token(sub="ann", rooms=["s"], exp=4_000_000_000)
        ann.say(f'420["refresh","{newer}"]', '421["enter","r"]', '422["enter","s"]')
        assert [await ann.next() for _ in range(3)] == [
            "430[4000000000.0]", '431["not_granted"]', '432["s",true,["ann"]]',
        ]  # fmt: skip
        ann.say(f'423["refresh","{token(sub="ben", rooms=["s"])}"]')
        assert await ann.next() == '433["wrong_peer"]'


async def test_a_client_whose_newer_token_does_not_grant_its_room_is_put_out() -> None:
    async with site(auth="required", auth_secret=SECRET) as one:
        ann = await one.enter("ann", token(sub="ann", rooms=["r"]))
        ann.say('420["enter","r"]', f'421["refresh","{token(sub="ann", rooms=["s"])}"]')
        assert await ann.next() == '430["r",true,["ann"]]'
        assert await ann.next() == "41"
        assert (await one.worker.roster("r")).count == 0


async def test_the_application_may_announce_the_id_of_the_session() -> None:
    async with site() as one:
        ann = await one.enter("ann")
        assert not ann.session.announced
        ann.say('42["announce"]')
        assert ann.session.announced


async def test_a_client_that_enters_such_a_namespace_leaves_the_one_that_it_has_not_asked_for() -> None:
    async with site() as one:
        version = ProtocolVersion(one.worker.settings, "socketio3", partial(ModernEncoder, 3))
        version.applications = Applications(RelayApplication(allowed=("*",), max_size=1000, offsets=False), [Rooms()])
        handler = partial(SocketIOClient, version, 3, {}, "")
        connection = FakeConnection()
        opening = one.sessions.opening(SessionProfile(PayloadWriter(FRAMINGS[3]), handler))
        session, opened = opening(connection, one.worker.admissions.admit("here", "socketio"))
        await opened
        assert isinstance(session, EngineSession)
        client = Client(connection, session)
        assert await client.next() == "40"
        client.say("40/chat")
        assert await client.next() == "40/chat,"
        assert (await one.worker.list_rooms()).rooms == []


class Lost(FakeConnection):
    """A connection on which a write has failed, and which has not reported its end yet."""

    lost = True

    def transfer(self) -> Transfer | None:
        return None


@pytest.mark.parametrize(("connection", "expected"), [(FakeConnection(), MessageId(1, 2)), (Lost(), None)])
async def test_nothing_has_arrived_over_a_connection_that_is_lost(
    connection: FakeConnection, expected: MessageId | None
) -> None:
    shown = ApplicationConnection(cast("Any", None), cast("Any", SimpleNamespace(connection=connection)), "/")
    shown.counts, shown.take = True, lambda _event: False
    shown.write(EventFrame(Message("r", MessageId(1, 2), "ann", (), "", b"{"), lambda _event: NOTHING))
    assert shown.received() == expected
