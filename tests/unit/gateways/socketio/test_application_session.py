"""Clients of an application with state: connected in no room, answered by it, in a room when they ask for it."""

from __future__ import annotations

from functools import partial
from typing import Any

from relay.gateways.socketio.application_session import ApplicationSession
from relay.gateways.socketio.apps.choice import Applications
from relay.gateways.socketio.apps.relay import RelayApplication
from relay.gateways.socketio.client import SocketIOClient
from relay.gateways.socketio.encoders import ModernEncoder
from relay.gateways.socketio.engine import EngineSession, SessionProfile
from relay.gateways.socketio.namespaces import ProtocolVersion
from relay.gateways.socketio.packets import FRAMINGS
from relay.gateways.socketio.payload_writer import PayloadWriter
from relay.model.errors import INTERNAL, NORMAL
from tests.unit.gateways.socketio.clients import FakeConnection
from tests.unit.gateways.socketio.rooms_application import Client, Rooms, site


async def test_a_client_is_connected_in_no_room() -> None:
    async with site() as one:
        await one.enter("ann")
        assert (await one.worker.list_rooms()).rooms == []


async def test_a_client_that_the_application_refuses_gets_the_error() -> None:
    async with site() as one:
        client = await one.open("bad")
        assert (await client.next()).startswith("44{")


async def test_a_client_enters_a_room_when_it_asks_and_gets_the_answer_of_the_application() -> None:
    async with site() as one:
        ann, ben = await one.enter("ann"), await one.enter("ben")
        ann.say('420["enter","r"]')
        assert await ann.next() == '430["r",true,["ann"]]'
        ben.say('427["enter","r"]')
        assert await ben.next() == '437["r",false,["ann","ben"]]'
        assert await ann.next() == '42["presence",["ben"],[]]'
        assert (await one.worker.list_rooms()).rooms == [("r", 2)]


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
