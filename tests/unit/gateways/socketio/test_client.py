"""Clients of versions 1 to 4: the packets that they may send and when, the open packet, and claims to recover."""

import asyncio
import base64
import json
import math
import time
from collections.abc import AsyncIterator, Mapping
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
from relay.gateways.socketio.offsets import Offset
from relay.gateways.socketio.packets import FRAMINGS, Version
from relay.gateways.socketio.payload_writer import PayloadWriter
from relay.limits import Clock
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.errors import BAD_PACKET, BAD_REQUEST, GOING_AWAY, TOKEN_REFUSED
from relay.model.json_text import MAX_NESTING
from relay.rooms.worker import Worker
from tests.tokens import SECRET, token
from tests.unit.gateways.socketio.clients import FakeConnection


class Client:
    """A client on a WebSocket that never was; `sent` gives the packets that it got, but for the first."""

    def __init__(self, connection: FakeConnection, session: EngineSession) -> None:
        self.connection = connection
        self.session = session
        self.taken = 1
        self.offset = ""

    def say(self, *messages: str | bytes) -> None:
        for one in messages:
            text = isinstance(one, str)
            self.session.received(Frame(one.encode() if isinstance(one, str) else one, is_text=text))

    async def next(self) -> str:
        """Return the next packet; one that only carries an offset is kept as `offset`."""
        while True:
            await self.connection.until(lambda: len(self.connection.written) > self.taken)
            self.taken += 1
            packet = self.connection.written[self.taken - 1].decode()
            if '["relay:position",' not in packet:
                return packet
            self.offset = json.loads(packet[packet.index("[") :])[1]

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

    def profile(
        self, version: Version = 4, room: str | None = None, query: Mapping[str, str] | None = None, token: str = ""
    ) -> SessionProfile:
        revision: Any = 4 if version == 4 else 3
        query = dict(query or {}) | ({} if room is None else {"room": room})
        handler = partial(SocketIOClient, self._versions[revision], revision, query, token)
        return SessionProfile(PayloadWriter(FRAMINGS[version]), handler)

    async def open(
        self, version: Version = 4, room: str | None = None, query: Mapping[str, str] | None = None, token: str = ""
    ) -> Client:
        connection = FakeConnection()
        ticket = self._worker.admissions.admit("here", "socketio")
        session, opened = self.sessions.opening(self.profile(version, room, query, token))(connection, ticket)
        await opened
        assert isinstance(session, EngineSession)
        return Client(connection, session)

    async def enter(self, namespace: str = "", **options: Any) -> Client:
        client = await self.open(**options)
        client.say(f"40{namespace}")
        assert (await client.next()).startswith("40" + namespace)
        return client


@asynccontextmanager
async def clients(*, clock: Clock = time.monotonic, **options: Any) -> AsyncIterator[Clients]:
    settings = Settings(**options)
    async with Worker(settings, clock=clock) as worker:
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
    # As clients count: binary data counts as 1.33 of its size and not as 4/3, and a type goes before each packet.
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
        assert (await new.next()).startswith('42["message",{"n":1}]')


async def test_a_client_of_revision_4_that_enters_nothing_in_time_is_closed() -> None:
    async with clients(handshake_timeout=0.05) as some:
        idle, entered = await some.open(), await some.enter()
        assert await idle.closed() is BAD_REQUEST
        assert entered.connection.reason is None


async def test_the_handshakes_room_is_that_of_the_first_namespace() -> None:
    async with clients() as some:
        ann, ben = await some.enter(room="there"), await some.enter("/rooms/there,")
        ann.say('42["message",{"n":1}]')
        assert (await ben.next()).startswith('42/rooms/there,["message",{"n":1}]')


# Packets.


async def test_attachments_are_part_of_their_event() -> None:
    async with clients() as some:
        ann, ben = await some.enter(), await some.enter()
        ann.say('451-["blob",{"_placeholder":true,"num":0}]', b"\1\2")
        assert (await ben.next()).startswith('451-["blob",{"_placeholder":true,"num":0}]')
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
async def test_packets_that_may_cross_with_the_end_of_a_namespace_are_ignored(packet: str) -> None:
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
        assert (await ben.next()).startswith(f'42["message",{nested(256)}]')
        assert (await ben.next()).startswith(f'42["offer",{nested(254)}]')


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
async def test_a_packet_that_nests_deeper_is_answered_and_the_connection_goes_on(packet: str) -> None:
    async with clients() as some:
        ann, ben = await some.enter(), await some.enter()
        ann.say(packet)
        error = json.loads((await ann.next()).removeprefix("437"))[0]["error"]
        assert error == {"code": "bad_json", "text": "nested more than 256 levels deep as an envelope"}
        ann.say('42["message",{"n":1}]')
        assert (await ben.next()).startswith('42["message",{"n":1}]')


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
        assert (await ben.next()).startswith(f'42["offer",{"9" * 5000},-1e999]')
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


async def test_a_client_that_is_lost_is_recovered_with_the_missed_events() -> None:
    async with clients() as some:
        ann, ben = await some.open(), await some.enter()
        ann.say("40")
        entered = json.loads((await ann.next()).removeprefix("40"))
        ben.say('42["message",{"n":1}]')
        assert json.loads((await ann.next()).removeprefix("42")) == ["message", {"n": 1}]
        ben.say('421["message",{"n":"after"}]')
        await ann.next()
        ann.session.disconnected(1006, None)
        ben.say('42["message",{"n":2}]')
        await asyncio.sleep(0.05)
        back = await some.open()
        back.say("40" + json.dumps({"pid": entered["pid"], "offset": ann.offset}))
        assert json.loads((await back.next()).removeprefix("40")) == entered
        assert await back.next() == '42["message",{"n":"after"}]'
        assert await back.next() == '42["message",{"n":2}]'


# Events that are emitted again.


async def entered_for_good(some: Clients, ann: Client, pid: str = "") -> str:
    """Enter the namespace, or recover; returns the private id."""
    ann.say("40" + (json.dumps({"pid": pid} | ({"offset": ann.offset} if ann.offset else {})) if pid else ""))
    return str(json.loads((await ann.next()).removeprefix("40"))["pid"])


def offset_after(packets: list[str]) -> str:
    """Return the offset of a client that has got these packets; "" for none."""
    positions = [packet for packet in packets if '["relay:position",' in packet]
    return json.loads(positions[-1][2:])[1] if positions else ""


@pytest.mark.parametrize("others", [0, 1, 3])
async def test_wherever_a_connection_is_cut_an_event_that_is_emitted_again_is_heard_once(others: int) -> None:
    async with clients() as some:
        for cut in range(20):
            room = f"room-{cut}"
            ann, ben = await some.open(room=room), await some.enter(room=room)
            pid = await entered_for_good(some, ann)
            ann.say('421["n","the same"]')
            for number in range(others):
                # Ann gets later messages before or after her own one is acknowledged.
                ben.say(f'42["other",{number}]')
            await asyncio.sleep(0.02)
            packets = [packet.decode() for packet in ann.connection.written[2:]]
            got, ann.offset = packets[:cut], offset_after(packets[:cut])
            ann.session.disconnected(1006, None)
            if cut > len(packets):
                break
            if got and got[-1].startswith("43"):
                continue  # an acknowledgement and its offset leave in one write
            await asyncio.sleep(0.02)
            back = await some.open(room=room)
            back.offset = ann.offset
            assert await entered_for_good(some, back, pid) == pid
            # Without an acknowledgement, the client emits the event again; with it, this is another event.
            back.say('422["n","the same"]')
            await asyncio.sleep(0.02)
            replayed = [packet.decode() for packet in back.connection.written[2:]]
            acknowledged = any(packet.startswith("43") for packet in got)
            heard = [packet.decode() for packet in ben.connection.written if b'"n"' in packet]
            assert len(heard) == 1 + acknowledged, (cut, packets)
            others_heard = [packet for packet in got + replayed if '"other"' in packet]
            assert sorted(set(others_heard)) == [f'42["other",{number}]' for number in range(others)]
        assert cut > 2 + 2 * others


async def test_two_equal_events_in_a_row_are_both_heard() -> None:
    async with clients() as some:
        ann, ben = await some.enter(), await some.enter()
        ann.say('421["n",1]', '422["n",1]')
        ids = {(await ann.next()).partition("[")[2] for _ in range(2)}
        assert len(ids) == 2
        assert [await ben.next() for _ in range(2)] == ['42["n",1]'] * 2


async def test_an_event_that_crosses_with_its_late_acknowledgement_is_heard_once() -> None:
    now = [1000.0]
    async with clients(clock=lambda: now[0]) as some:
        ann, ben = await some.enter(), await some.enter()
        ann.say('421["n",1]')
        now[0] += 0.4
        assert await ann.next() == "2"
        acknowledged = (await ann.next()).removeprefix("431")
        # Emitted before the client has read the ping and the acknowledgement.
        ann.say('422["n",1]')
        assert await ann.next() == "2"
        assert await ann.next() == f"432{acknowledged}"
        # From here on, it has read both.
        ann.say("3", '423["n",1]')
        assert (await ann.next()).removeprefix("433") != acknowledged
        ben.say('42["last"]')
        assert await ann.next() == '42["last"]'
        heard = [packet for packet in ben.connection.written if b'"n"' in packet]
        assert len(heard) == 2


@pytest.mark.parametrize("version", [4, 3])
async def test_a_client_may_give_a_key(version: Version) -> None:
    async with clients() as some:
        ann, ben = await some.open(version), await some.enter()
        if version == 4:
            await entered_for_good(some, ann)
        else:
            assert await ann.next() == "40"
        answers = []
        for number, key in enumerate(["a", "b", "a", 7, "7"]):
            ann.say(f'42{number}["message",{{"n":{number}}},{{"relay:key":{json.dumps(key)}}}]')
            answers.append((await ann.next()).partition("[")[2])
        assert answers[2] == answers[0]
        assert answers[4] == answers[3]
        for number in (0, 1, 3):
            assert await ben.next() == f'42["message",{{"n":{number}}}]'
        ann.say('429["only",{"relay:key":"c"}]', '42["two",{"relay:key":"d","more":1}]')
        assert [await ben.next() for _ in range(2)] == ['42["only"]', '42["two",{"relay:key":"d","more":1}]']


@pytest.mark.parametrize("key", ['""', "null", "[]", "1.5", '"' + 65 * "x" + '"'])
async def test_a_key_is_short_text(key: str) -> None:
    async with clients() as some:
        ann = await some.enter()
        ann.say(f'427["e",1,{{"relay:key":{key}}}]')
        answer = await ann.next()
        assert answer.startswith("437[")
        assert "relay:key" in answer


async def test_a_client_without_offsets_gets_none_and_cannot_recover() -> None:
    async with clients() as some:
        ann, ben = await some.open(query={"offsets": "none"}), await some.enter()
        ann.say("40")
        assert set(json.loads((await ann.next()).removeprefix("40"))) == {"sid"}
        ben.say('42["e"]', '42["f"]')
        assert [await ann.next() for _ in range(2)] == ['42["e"]', '42["f"]']
        assert ann.offset == ""


async def test_a_client_that_asks_for_it_gets_the_offset_as_an_argument() -> None:
    async with clients() as some:
        ann, ben = await some.open(query={"offsets": "argument"}), await some.enter()
        await entered_for_good(some, ann)
        ben.say('42["e",1]')
        name, argument, offset = json.loads((await ann.next()).removeprefix("42"))
        assert (name, argument) == ("e", 1)
        assert MessageId.parse(offset).seq > 0


# Claims.


def encoded(auth: dict[str, Any]) -> dict[str, bytes]:
    return {name: msgspec.json.encode(value) for name, value in auth.items()}


@pytest.mark.parametrize(
    ("offset", "read"),
    [
        ({}, None),
        ({"offset": None}, None),
        ({"offset": 7}, None),
        ({"offset": "7-8"}, Offset(MessageId(7, 8), "home")),
        ({"offset": "7-8@there"}, Offset(MessageId(7, 8), "there")),
        ({"offset": "7-8@a@b"}, Offset(MessageId(7, 8), "a@b")),
        ({"offset": "7-8~7-5"}, Offset(MessageId(7, 8), "home", MessageId(7, 5))),
        ({"offset": "7-8~7-5@a~b"}, Offset(MessageId(7, 8), "a~b", MessageId(7, 5))),
    ],
)
def test_claims(offset: dict[str, Any], read: Offset | None) -> None:
    claim = read_claim(encoded({"pid": "ann.secret.5-6"} | offset), "home")
    assert claim == RecoveryClaim("ann.secret.5-6", "ann", "secret", MessageId(5, 6), read)


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
        {"pid": "ann.secret.5-6", "offset": "7-8~"},
        {"pid": "ann.secret.5-6", "offset": "7-8~7"},
        {"pid": "ann.secret.5-6", "offset": "7-8@{}"},
        {"pid": "ann.secret.5-6", "offset": "7-8@" + "x" * 256},
    ],
)
def test_a_private_id_that_the_relay_never_issued_is_no_claim(auth: dict[str, Any]) -> None:
    assert read_claim(encoded(auth), "home") is None


# Tokens and passwords.

AUTH: dict[str, Any] = {"auth": "required", "auth_secret": SECRET}
ROOMS = [{"room": "lobby", "can": ["join", "publish"]}, "default"]


async def test_a_token_counts_in_the_namespace_that_is_entered_with_it() -> None:
    async with clients(default_room="default", **AUTH) as some:
        client = await some.open()
        client.say(f'40/rooms/lobby,{{"token":"{token(sub="ann", rooms=ROOMS)}"}}')
        assert json.loads((await client.next()).partition(",")[2])["sid"] == "ann"
        # One that is refused leaves the connection, and the other namespaces, as they are.
        for auth, code in [("", "token_required"), ('{"token":"x"}', "bad_token"), ('{"token":{}}', "token_required")]:
            client.say(f"40{auth}")
            assert json.loads((await client.next()).removeprefix("44"))["data"]["code"] == code
        client.say('42/rooms/lobby,7["message",1]')
        assert (await client.next()).startswith("43/rooms/lobby,7[")
        assert client.connection.reason is None


async def test_a_token_of_the_handshake_counts_in_namespaces_without_one_of_their_own() -> None:
    async with clients(default_room="default", **AUTH) as some:
        client = await some.open(token=token(sub="ann", rooms=ROOMS))
        client.say("40")
        assert json.loads((await client.next()).removeprefix("40"))["sid"] == "ann"
        client.say(f'40/rooms/lobby,{{"token":"{token(sub="bob", rooms=ROOMS)}"}}')
        assert json.loads((await client.next()).partition(",")[2])["sid"] == "bob"
        old = await some.open(3, token=token(rooms=ROOMS))
        assert await old.next() == "40"
        refused = await some.open(3)
        assert (await refused.next()).startswith('44"')


async def test_a_token_may_limit_the_namespaces_of_its_client() -> None:
    async with clients(default_room="default", **AUTH) as some:
        client = await some.open(token=token(rooms=ROOMS, limits={"rooms": 1}))
        client.say("40")
        assert (await client.next()).startswith("40")
        client.say("40/rooms/lobby")
        assert json.loads((await client.next()).partition(",")[2])["data"]["code"] == "too_many_rooms"


async def test_a_client_refreshes_its_token_and_hears_that_it_ends() -> None:
    async with clients(default_room="default", **AUTH) as some:
        old, other = token(sub="ann", ttl=2, rooms=ROOMS), token(sub="bob", rooms=ROOMS)
        client = await some.open(token=old)
        client.say("40")
        await client.next()
        client.say(f'427["relay:refresh","{other}"]')
        [answer] = json.loads((await client.next()).removeprefix("437"))
        assert answer["error"]["code"] == "wrong_peer"
        client.say(f'428["relay:refresh","{token(sub="ann", ttl=3600, rooms=ROOMS)}"]')
        [answer] = json.loads((await client.next()).removeprefix("438"))
        assert answer["expires"] > time.time() + 3000
        assert len(some.sessions.worker.expiries) == 1


async def test_a_client_that_may_not_stay_is_put_out_of_its_namespace() -> None:
    async with clients(default_room="default", **AUTH) as some:
        client = await some.open(token=token(rooms=ROOMS))
        client.say("40")
        client.say("40/rooms/lobby")
        await client.next()
        await client.next()
        client.say(f'42["relay:refresh","{token(rooms=["lobby"])}"]')
        assert json.loads((await client.next()).removeprefix("42"))[1]["code"] == "not_granted"
        assert await client.next() == "41"
        client.say('42/rooms/lobby,7["message",1]')
        assert (await client.next()).startswith("43/rooms/lobby,7[")


async def test_no_room_has_a_password_of_a_thousand_characters_and_most_have_none() -> None:
    async with clients() as some:
        client = await some.open()
        client.say('40{"password":"%s"}' % ("x" * 1000))
        assert (await client.next()).startswith("40")


@pytest.mark.parametrize("version", [4, 3])
async def test_a_client_that_is_refused_has_the_time_of_a_new_one_to_do_better(version: Version) -> None:
    async with clients(default_room="default", handshake_timeout=0.05, **AUTH) as some:
        client = await some.open(version)
        if version == 4:
            client.say("40")
        assert (await client.next()).startswith("44")
        assert await client.closed() is TOKEN_REFUSED
        if version == 4:
            better = await some.open()
            better.say("40")
            await better.next()
            better.say(f'40{{"token":"{token(rooms=ROOMS)}"}}')
            assert (await better.next()).startswith("40")
            await asyncio.sleep(0.1)
            assert better.connection.reason is None


@pytest.mark.parametrize("version", [4, 3])
async def test_a_client_that_does_nothing_after_its_handshake_has_no_rate_of_its_own_and_no_reader(
    version: Version,
) -> None:
    async with clients() as some:
        client = await some.open(version)
        if version == 4:
            client.say("40")
        assert (await client.next()).startswith("40")
        assert (client.session.ticket._pace, client.session._brake) == (None, None)
        handler: Any = client.session._handler
        assert handler._reader is None


async def test_only_the_first_packet_to_enter_is_not_counted_and_only_if_it_is_small() -> None:
    async with clients(message_rate=1, byte_rate=100) as some:
        large = await some.open()
        large.say('40{"a":"%s"}' % ("x" * 5000))
        assert large.connection.paused == [True]
        client = await some.open()
        for _ in range(30):
            client.say("40/rooms/a,", "41/rooms/a,")
        assert client.connection.paused[:1] == [True]
        assert any('"too_fast"' in packet.decode() for packet in client.connection.written)


async def test_all_namespaces_of_a_client_share_one_message_rate() -> None:
    """A namespace that is entered again brings no new tokens. The clock stands still, so that none come by time."""
    async with clients(clock=lambda: 1000.0, message_rate=0.1, message_delay=0) as some:
        client = await some.open()
        answers = []
        for _ in range(2):
            client.say("40/rooms/a,", *[f'42/rooms/a,{number}["message",1]' for number in range(6)])
            answers += [await client.next() for _ in range(7)]
            client.say("41/rooms/a,")
        # Ten may be sent at once: here seven messages, beside what it costs to leave a namespace and to enter it again.
        assert [answer[:13] for answer in answers if answer[:2] == "43"] == [f"43/rooms/a,{n}[" for n in (*range(6), 0)]
        assert sum('"too_fast"' in answer for answer in answers) == 5


async def test_attachments_that_come_in_several_messages_are_those_of_one_packet() -> None:
    async with clients() as some:
        client = await some.enter()
        client.say('452-["e",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', b"one")
        handler: Any = client.session._handler
        assert handler._reader.awaits_attachments
        client.say(b"two")
        assert handler._reader is None
        client.say(b"three")
        assert await client.closed() is BAD_PACKET
