"""Clients of versions 1 to 4: the packets that they may send and when, the open packet, and claims to recover."""

import asyncio
import base64
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
import pytest

from relay.config import Settings
from relay.gateways.socketio.client import RecoveryClaim, SocketIOClient, read_claim
from relay.gateways.socketio.encoders import ModernEncoder
from relay.gateways.socketio.engine import EngineSession, EngineSessions, SessionProfile
from relay.gateways.socketio.namespaces import ProtocolVersion
from relay.gateways.socketio.packets import FRAMINGS, Version
from relay.gateways.socketio.payload_writer import PayloadWriter
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.errors import BAD_PACKET, BAD_REQUEST, GOING_AWAY
from relay.model.json_text import MAX_NESTING
from relay.rooms.worker import Worker
from tests.unit.gateways.socketio.clients import FakeConnection


class Client:
    """A client on a WebSocket that never was; `sent` gives the packets that it got, but for the first."""

    def __init__(self, connection: FakeConnection, session: EngineSession) -> None:
        self.connection = connection
        self.session = session
        self.taken = 1

    def say(self, *messages: str | bytes) -> None:
        for one in messages:
            text = isinstance(one, str)
            self.session.received(Frame(one.encode() if isinstance(one, str) else one, is_text=text))

    async def next(self) -> str:
        await self.connection.until(lambda: len(self.connection.written) > self.taken)
        self.taken += 1
        return self.connection.written[self.taken - 1].decode()

    async def closed(self) -> Any:
        await self.connection.until(lambda: self.connection.reason)
        return self.connection.reason


class Clients:
    def __init__(self, worker: Worker, settings: Settings) -> None:
        self.sessions = EngineSessions(worker)
        self._worker = worker
        self._settings = settings
        self._versions = {
            3: ProtocolVersion(settings, "socketio3", partial(ModernEncoder, 3), ascii_names=True),
            4: ProtocolVersion(settings, "socketio4", partial(ModernEncoder, 4), offsets=True),
        }

    def profile(self, version: Version = 4, room: str | None = None) -> SessionProfile:
        revision: Any = 4 if version == 4 else 3
        query = {} if room is None else {"room": room}
        return SessionProfile(
            PayloadWriter(FRAMINGS[version]), partial(SocketIOClient, self._versions[revision], revision, query)
        )

    async def open(self, version: Version = 4, room: str | None = None) -> Client:
        connection = FakeConnection()
        ticket = self._worker.admissions.admit("here", "socketio")
        session, opened = self.sessions.opening(self.profile(version, room))(connection, ticket)
        await opened
        assert isinstance(session, EngineSession)
        return Client(connection, session)

    async def enter(self, namespace: str = "", **options: Any) -> Client:
        client = await self.open(**options)
        client.say(f"40{namespace}")
        assert (await client.next()).startswith("40" + namespace)
        return client


@asynccontextmanager
async def clients(**options: Any) -> AsyncIterator[Clients]:
    settings = Settings(**options)
    async with Worker(settings) as worker:
        yield Clients(worker, settings)


# Opening.


def opened(client: Client) -> Any:
    return json.loads(client.connection.written[0][1:])


async def test_the_open_packet_has_times_in_milliseconds() -> None:
    async with clients(ping_interval=0.3, ping_timeout=20) as some:
        client = await some.open()
        packet = opened(client)
        assert (packet["sid"], packet["upgrades"]) == (client.session.id, [])
        assert (packet["pingInterval"], packet["pingTimeout"]) == (300, 20_000)


async def test_only_a_client_that_polls_may_upgrade() -> None:
    async with clients() as some:
        session = some.sessions.begin(some.profile(), some.sessions.worker.admit("here", "socketio"))
        await session.open()
        assert session.polling is not None
        body = session.writer.answer(session.polling.poll().result()).data
        assert json.loads(body[1:])["upgrades"] == ["websocket"]


@pytest.mark.parametrize("size", [1, 2, 100, 700])
async def test_a_payload_that_a_client_takes_for_small_enough_is_small_enough(size: int) -> None:
    head, attachments = b'51-["e",{"_placeholder":true,"num":0}]', b"b" + base64.b64encode(bytes(size))
    # As clients count: 4/3 of what is binary is 1.33 of it, and a type goes before each packet.
    counted = len(head) + 1 + math.ceil(size * 1.33) + 1 + 2
    async with clients(max_message=1024) as some:
        client = await some.open()
        times = opened(client)["maxPayload"] // counted
        assert len(b"\x1e".join([b"4" + head, attachments] * times)) <= client.session.max_payload


async def test_a_client_of_revision_3_is_in_the_first_namespace_from_the_beginning() -> None:
    async with clients() as some:
        old, new = await some.open(3), await some.enter()
        assert await old.next() == "40"
        old.say('42["message",{"n":1}]')
        assert (await new.next()).startswith('42["message",{"n":1},')


async def test_a_client_of_revision_4_that_enters_nothing_in_time_is_closed() -> None:
    async with clients(handshake_timeout=0.05) as some:
        idle, entered = await some.open(), await some.enter()
        assert await idle.closed() is BAD_REQUEST
        assert entered.connection.reason is None


async def test_the_handshakes_room_is_that_of_the_first_namespace() -> None:
    async with clients() as some:
        ann, ben = await some.enter(room="there"), await some.enter("/rooms/there,")
        ann.say('42["message",{"n":1}]')
        assert (await ben.next()).startswith('42/rooms/there,["message",{"n":1},')


# Packets.


async def test_attachments_are_part_of_their_event() -> None:
    async with clients() as some:
        ann, ben = await some.enter(), await some.enter()
        ann.say('451-["blob",{"_placeholder":true,"num":0}]', b"\1\2")
        assert (await ben.next()).startswith('451-["blob",{"_placeholder":true,"num":0},')
        assert await ben.next() == "\1\2"


async def test_a_disconnect_packet_ends_one_namespace() -> None:
    async with clients() as some:
        client = await some.enter()
        client.say("40/rooms/a,")
        assert (await client.next()).startswith("40/rooms/a,")
        client.say("41", '42/rooms/a,1["x"]')
        assert (await client.next()).startswith("43/rooms/a,1[")
        client.say("41")  # of a namespace that it is not in, which may have crossed with the relay's own
        client.say('42/rooms/a,2["x"]')
        assert (await client.next()).startswith("43/rooms/a,2[")


async def test_a_second_connect_packet_is_bad_in_revision_4_alone() -> None:
    async with clients() as some:
        old, new = await some.open(3), await some.enter()
        assert await old.next() == "40"
        for client in (old, new):
            client.say("40")
        assert await new.closed() is BAD_PACKET
        old.say('421["x"]')
        assert (await old.next()).startswith("431[")


async def test_a_query_may_follow_a_namespace_in_revision_3() -> None:
    async with clients() as some:
        client = await some.open(3)
        assert await client.next() == "40"
        client.say("40/rooms/a?token=1,")
        assert await client.next() == "40/rooms/a,"


@pytest.mark.parametrize("packet", ['42["x"]', '42/rooms/a,["x"]', "44{}", "4nonsense"])
async def test_a_packet_for_a_namespace_that_the_client_is_not_in_closes_the_connection(packet: str) -> None:
    async with clients() as some:
        client = await some.open()
        client.say(packet)
        assert await client.closed() is BAD_PACKET


@pytest.mark.parametrize("packet", ["41", "43[]", '461-[{"_placeholder":true,"num":0}]'])
async def test_what_may_cross_with_the_end_of_a_namespace_is_ignored(packet: str) -> None:
    async with clients() as some:
        client = await some.open()
        client.say(packet, *([b"\1"] if packet.startswith("46") else []))
        assert client.connection.reason is None


def nested(levels: int) -> str:
    """An object with so many levels."""
    return '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


async def test_an_envelope_nests_as_deep_as_in_the_relays_own_protocol_and_an_event_two_levels_less() -> None:
    async with clients() as some:
        ann, ben = await some.enter(), await some.enter()
        ann.say(f'42["message",{nested(256)}]', f'42["offer",{nested(254)}]')
        assert (await ben.next()).startswith(f'42["message",{nested(256)},')
        assert (await ben.next()).startswith(f'42["offer",{nested(254)},')


@pytest.mark.parametrize(
    "packet",
    [
        f'427["message",{nested(257)}]',
        f'427["message",{nested(5000)}]',
        f'427["offer",{nested(255)}]',
        f'427["offer",{nested(256)}]',
        f'427["offer",{nested(5000)}]',
        f"427[{nested(5000)}",  # not even JSON, which no parser has read
        f'450-7["offer",{nested(5000)}]',
    ],
)
async def test_what_nests_deeper_is_answered_and_the_connection_goes_on(packet: str) -> None:
    async with clients() as some:
        ann, ben = await some.enter(), await some.enter()
        ann.say(packet)
        error = json.loads((await ann.next()).removeprefix("437"))[0]["error"]
        assert error == {"code": "bad_json", "text": "nested more than 256 levels deep as an envelope"}
        ann.say('42["message",{"n":1}]')
        assert (await ben.next()).startswith('42["message",{"n":1},')


async def test_a_connect_packet_that_nests_too_deep_is_bad() -> None:
    async with clients() as some:
        client = await some.open()
        client.say("40" + nested(MAX_NESTING + 2))
        assert await client.closed() is BAD_PACKET


async def test_numbers_of_any_size_are_relayed_as_they_were_written() -> None:
    async with clients() as some:
        ann, ben = await some.open(), await some.enter()
        ann.say('40{"n":1e999,"pid":%s}' % ("9" * 5000))
        assert (await ann.next()).startswith("40{")
        ann.say(f'42["offer",{"9" * 5000},-1e999]')
        assert (await ben.next()).startswith(f'42["offer",{"9" * 5000},-1e999,')
        ann.say(f"427[{'9' * 5000}]")
        assert json.loads((await ann.next()).removeprefix("437"))[0]["error"]["code"] == "bad_event"


# Ends.


async def test_a_worker_that_stops_closes_a_client_after_all_its_namespaces() -> None:
    async with clients() as some:
        client = await some.enter()
        client.say("40/rooms/a,")
        assert (await client.next()).startswith("40/rooms/a,")
        client.session.close_gracefully(GOING_AWAY)
        assert await client.closed() is GOING_AWAY
        assert len(client.connection.written) == client.taken  # no packet says so, and clients come back


async def test_a_client_without_a_namespace_is_closed_at_once() -> None:
    async with clients() as some:
        client = await some.open()
        client.session.close_gracefully(GOING_AWAY)
        assert client.connection.reason is GOING_AWAY


async def test_a_client_that_is_lost_is_recovered_with_what_it_missed() -> None:
    async with clients() as some:
        ann, ben = await some.open(), await some.enter()
        ann.say("40")
        entered = json.loads((await ann.next()).removeprefix("40"))
        ben.say('42["message",{"n":1}]')
        offset = json.loads((await ann.next()).removeprefix("42"))[-1]
        ann.session.disconnected(1006, None)
        ben.say('42["message",{"n":2}]')
        await asyncio.sleep(0.05)
        back = await some.open()
        back.say("40" + json.dumps({"pid": entered["pid"], "offset": offset}))
        assert json.loads((await back.next()).removeprefix("40")) == entered
        assert (await back.next()).startswith('42["message",{"n":2},')


# Claims.


def encoded(auth: dict[str, Any]) -> dict[str, bytes]:
    return {name: msgspec.json.encode(value) for name, value in auth.items()}


@pytest.mark.parametrize(
    ("offset", "read", "room"),
    [
        ({}, None, "home"),
        ({"offset": None}, None, "home"),
        ({"offset": 7}, None, "home"),
        ({"offset": "7-8"}, MessageId(7, 8), "home"),
        ({"offset": "7-8@there"}, MessageId(7, 8), "there"),
        ({"offset": "7-8@a@b"}, MessageId(7, 8), "a@b"),
    ],
)
def test_claims(offset: dict[str, Any], read: MessageId | None, room: str) -> None:
    claim = read_claim(encoded({"pid": "ann.secret.5-6"} | offset), "home")
    assert claim == RecoveryClaim("ann.secret.5-6", "ann", "secret", MessageId(5, 6), read, room)


@pytest.mark.parametrize(
    "auth",
    [
        {},
        {"pid": 5},
        {"pid": "ann.secret"},
        {"pid": "{}.secret.5-6"},
        {"pid": "ann.secret.5"},
        {"pid": "ann.secret.5-6" + "6" * 300},
        {"pid": "ann.secret.5-6", "offset": "7"},
        {"pid": "ann.secret.5-6", "offset": "there"},
        {"pid": "ann.secret.5-6", "offset": "7-8@{}"},
        {"pid": "ann.secret.5-6", "offset": "7-8@" + "x" * 256},
    ],
)
def test_a_private_id_that_the_relay_never_issued_is_no_claim(auth: dict[str, Any]) -> None:
    assert read_claim(encoded(auth), "home") is None
