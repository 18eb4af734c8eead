"""SimpleWebRTC against one worker: every event and its answer, packet by packet."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from relay.config import Settings
from relay.gateways.socketio.apps.signalmaster.client import SignalMasterApplication
from relay.gateways.socketio.client import SocketIOClient
from relay.gateways.socketio.encoders import ModernEncoder
from relay.gateways.socketio.engine import EngineSession, EngineSessions, SessionProfile
from relay.gateways.socketio.namespaces import ProtocolVersion
from relay.gateways.socketio.packets import FRAMINGS, Revision
from relay.gateways.socketio.payload_writer import PayloadWriter
from relay.model import events
from relay.model.codec import Frame
from relay.model.errors import NORMAL
from relay.rooms.worker import Worker
from tests.tokens import SECRET, token
from tests.unit.gateways.socketio.clients import FakeConnection

DIALECT = {"dialect": "signalmaster"}
VIDEO = {"screen": False, "video": True, "audio": False}
SCREEN = VIDEO | {"screen": True}


class Page:
    """One client; `prefix` is the name of its namespace with a comma, "" for `/`."""

    def __init__(self, connection: FakeConnection, session: EngineSession, prefix: str) -> None:
        self.connection = connection
        self.session = session
        self.sid = session.id
        self._prefix = prefix
        self._taken = 1  # the open packet

    def say(self, *packets: str) -> None:
        for packet in packets:
            self.session.received(Frame(packet.encode()))

    def emit(self, *values: Any, number: str = "") -> None:
        self.say(f"42{self._prefix}{number}{json.dumps(values)}")

    async def ask(self, *values: Any) -> Any:
        """Emit with a callback; the next packet calls it."""
        self.emit(*values, number="7")
        return json.loads((await self.next()).removeprefix(f"43{self._prefix}7"))

    async def next(self) -> str:
        await self.connection.until(lambda: len(self.connection.written) > self._taken)
        self._taken += 1
        return self.connection.written[self._taken - 1].decode()

    async def event(self) -> Any:
        return json.loads((await self.next()).removeprefix(f"42{self._prefix}"))

    async def meets(self, *others: "Page") -> None:
        """Say something to each of the others, which then knows of this member and of all before it."""
        for other in others:
            self.emit("message", {"to": other.sid, "type": "hello"})
            assert (await other.event())[1]["type"] == "hello"

    async def hears_nothing(self) -> None:
        """Assert that no packet comes before an answer to something else."""
        assert (await self.ask("relay", 0))[0] in {"bad_envelope", "bad_json"}


class Site:
    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._sessions = EngineSessions(worker)
        self._versions: dict[Revision, ProtocolVersion] = {
            3: ProtocolVersion(worker.settings, "socketio3", partial(ModernEncoder, 3)),
            4: ProtocolVersion(worker.settings, "socketio4", partial(ModernEncoder, 4), offsets=True),
        }

    async def connect(
        self, query: dict[str, str] | None = None, token: str = "", prefix: str = "", revision: Revision = 3
    ) -> Page:
        version = self._versions[revision]
        handler = partial(SocketIOClient, version, revision, DIALECT if query is None else query, token)
        connection = FakeConnection()
        opening = self._sessions.opening(SessionProfile(PayloadWriter(FRAMINGS[revision]), handler))
        session, opened = opening(connection, self.worker.admissions.admit("here", "socketio"))
        await opened
        assert isinstance(session, EngineSession)
        return Page(connection, session, prefix)

    async def open(self, token: str = "") -> Page:
        """Connect a page, whose servers are not read."""
        page = await self.connect(token=token)
        assert await page.next() == "40"
        return page

    async def join(self, room: str = "r") -> Page:
        page = await self.open()
        assert (await page.ask("join", room))[0] is None
        return page

    async def members(self, room: str = "r") -> dict[str, Any]:
        roster = await self.worker.roster(room)
        return {one.peer: json.loads(one.info or b"null") for one in roster.members}


@asynccontextmanager
async def site(**settings: Any) -> AsyncIterator[Site]:
    async with Worker(Settings(**settings)) as worker:
        yield Site(worker)


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    async with site() as one:
        yield one


# The choice of the application.


async def test_a_page_with_the_dialect_is_in_no_room(here: Site) -> None:
    await here.open()
    assert (await here.worker.list_rooms()).rooms == []


async def test_the_namespace_means_the_same_and_the_default_room_is_left(here: Site) -> None:
    page = await here.connect({}, prefix="/simplewebrtc,")
    assert await page.next() == "40"
    page.say("40/simplewebrtc")
    assert await page.next() == "40/simplewebrtc,"
    assert await page.ask("join", "r") == [None, {"clients": {}}]
    assert (await here.worker.list_rooms()).rooms == [("r", 1)]
    assert list(await here.members()) == [page.sid]


async def test_the_setting_makes_it_that_of_all_pages_in_the_default_namespace() -> None:
    async with site(extensions={"socketio_application": "signalmaster"}) as one:
        page = await one.connect({})
        assert await page.next() == "40"
        assert await page.ask("join", "r") == [None, {"clients": {}}]


async def test_a_page_with_a_newer_client_has_the_same_id(here: Site) -> None:
    a, b = await here.join(), await here.connect(revision=4)
    b.say("40")
    assert await b.next() == f'40{{"sid":"{b.sid}"}}'
    assert await b.ask("join", "r") == [None, {"clients": {a.sid: VIDEO}}]
    await b.meets(a)
    # No event of another name follows: the client cannot come back, and gets no offsets.
    await a.meets(b)
    await b.hears_nothing()


def test_other_values_of_the_parameter_mean_nothing() -> None:
    application = SignalMasterApplication()
    assert application.recognises(DIALECT)
    assert not application.recognises({"dialect": "SignalMaster"})
    assert not application.recognises({})


# On connect.


async def test_servers_come_unasked_before_a_join_can_be_answered() -> None:
    servers = {"ice_servers": "stun:here", "turn_servers": ("turn:here",), "turn_secret": "s" * 16, "turn_ttl": 600}
    async with site(**servers) as one:
        page = await one.connect()
        page.emit("join", "r", number="0")
        assert await page.next() == "40"
        assert await page.event() == ["stunservers", [{"urls": "stun:here"}]]
        name, [turn] = await page.event()
        assert (name, turn["urls"]) == ("turnservers", ["turn:here"])
        assert re.fullmatch(rf"\d+:{page.sid}", turn["username"])
        assert await page.next() == '430[null,{"clients":{}}]'


# Joining.


async def test_a_newcomer_gets_the_members_before_it_and_nobody_is_told(here: Site) -> None:
    a = await here.join()
    b = await here.open()
    assert await b.ask("join", "r") == [None, {"clients": {a.sid: VIDEO}}]
    c = await here.open()
    assert await c.ask("join", "r") == [None, {"clients": {a.sid: VIDEO, b.sid: VIDEO}}]
    await a.hears_nothing()
    assert await here.members() == {page.sid: {"simplewebrtc": VIDEO} for page in (a, b, c)}


async def test_a_join_moves_the_client_and_its_members_are_told(here: Site) -> None:
    a, b = await here.join("one"), await here.join("one")
    await b.meets(a)
    assert await b.ask("join", "two") == [None, {"clients": {}}]
    assert await a.event() == ["remove", {"id": b.sid}]
    assert list(await here.members("two")) == [b.sid]
    assert list(await here.members("one")) == [a.sid]


async def test_a_second_join_of_the_same_room_begins_anew(here: Site) -> None:
    a, b = await here.join(), await here.join()
    await b.meets(a)
    assert await b.ask("join", "r") == [None, {"clients": {a.sid: VIDEO}}]
    assert await a.event() == ["remove", {"id": b.sid}]


async def test_a_room_with_any_text_as_its_name(here: Site) -> None:
    a = await here.open()
    assert await a.ask("create", "main hall/é ☃") == [None, "main hall/é ☃"]
    assert list(await here.members("main%20hall%2F%C3%A9%20%E2%98%83")) == [a.sid]


async def test_a_full_room() -> None:
    async with site(members_per_room=1) as one:
        await one.join()
        late = await one.open()
        assert await late.ask("join", "r") == ["full"]
        late.emit("join", "r")
        name, error = await late.event()
        assert (name, error["code"]) == ("error", "room_full")


async def test_create_is_answered_with_the_name_or_that_the_room_is_taken(here: Site) -> None:
    a, b = await here.open(), await here.open()
    assert await a.ask("create", "r") == [None, "r"]
    assert await b.ask("create", "r") == ["taken"]
    await a.hears_nothing()
    _, name = await b.ask("create")
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", name)
    assert list(await here.members(name)) == [b.sid]


async def test_of_many_that_create_a_room_at_once_one_does(here: Site) -> None:
    pages = [await here.open() for _ in range(10)]
    answers = await asyncio.gather(*[page.ask("create", "r") for page in pages])
    assert sorted(map(str, answers)) == ["['taken']"] * 9 + ["[None, 'r']"]
    (creator,) = await here.members()
    assert answers[[page.sid for page in pages].index(creator)] == [None, "r"]


async def test_create_without_a_callback(here: Site) -> None:
    a, b = await here.open(), await here.open()
    a.emit("create", "r")
    await a.hears_nothing()
    assert list(await here.members()) == [a.sid]
    b.emit("create", "r")
    name, error = await b.event()
    assert (name, error["code"]) == ("error", "room_exists")


# Messages.


async def test_a_message_reaches_one_member_with_its_true_sender(here: Site) -> None:
    a, b, c = [await here.join() for _ in range(3)]
    fields = {"sid": "1448000000000", "roomType": "video", "type": "offer", "payload": {"sdp": "v=0"}}
    b.emit("message", fields | {"to": a.sid, "from": c.sid})
    assert await a.event() == ["message", fields | {"to": a.sid, "from": b.sid}]
    await b.hears_nothing()
    await c.hears_nothing()


async def test_twelve_messages_in_one_turn_arrive_in_order(here: Site) -> None:
    a, b = await here.join(), await here.join()
    for number in range(12):
        b.emit("message", {"to": a.sid, "type": "candidate", "payload": number})
    assert [(await a.event())[1]["payload"] for _ in range(12)] == list(range(12))


async def test_a_message_reaches_no_other_room(here: Site) -> None:
    a, b, outside = await here.join("one"), await here.join("two"), await here.open()
    for page in (b, outside):
        page.emit("message", {"to": a.sid, "type": "offer"})
        if page is outside:
            assert (await page.event())[1]["code"] == "not_joined"
        await page.hears_nothing()
    await a.hears_nothing()


# Leaving.


async def test_a_leave_is_told_to_the_room_and_to_the_client_itself(here: Site) -> None:
    a, b = await here.join(), await here.join()
    await b.meets(a)
    b.emit("leave")
    assert await b.event() == ["remove", {"id": b.sid}]
    assert await a.event() == ["remove", {"id": b.sid}]
    assert list(await here.members()) == [a.sid]


async def test_a_leave_from_outside_a_room_is_ignored(here: Site) -> None:
    page = await here.open()
    page.emit("leave")
    await page.hears_nothing()


async def test_a_client_that_is_lost_is_removed_at_once(here: Site) -> None:
    a, b = await here.join(), await here.join()
    await b.meets(a)
    b.session.disconnected(1006, None)
    assert await a.event() == ["remove", {"id": b.sid}]
    a.session.disconnected(NORMAL.code, None)


# Screens.


async def test_a_shared_screen_is_a_resource_and_its_end_is_told(here: Site) -> None:
    a, b = await here.join(), await here.join()
    a.emit("shareScreen")
    # The members are told of the share before the next message, which is an offer.
    await a.meets(b)
    c = await here.open()
    assert (await c.ask("join", "r"))[1]["clients"][a.sid] == SCREEN
    a.emit("unshareScreen")
    for page in (a, b, c):
        assert await page.event() == ["remove", {"id": a.sid, "type": "screen"}]
    assert (await here.members())[a.sid] == {"simplewebrtc": VIDEO}


async def test_a_screen_is_shared_in_the_next_room_as_well(here: Site) -> None:
    page = await here.open()
    page.emit("unshareScreen")
    page.emit("shareScreen")
    await page.ask("join", "one")
    await page.ask("join", "two")
    assert await here.members("two") == {page.sid: {"simplewebrtc": SCREEN}}


async def test_a_screen_that_is_shared_and_hidden_fast_ends_as_the_page_says(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("relay.gateways.socketio.apps.signalmaster.client", "relay.rooms.infos"):
        monkeypatch.setattr(f"{module}.INFO_RATE", 100)
    page = await here.join()
    for _ in range(4):
        page.emit("shareScreen")
        page.emit("unshareScreen")
    page.emit("shareScreen")
    page.emit("leave")
    heard = []
    while (event := await page.event())[1] != {"id": page.sid}:
        heard.append(event)
    assert all(event == ["remove", {"id": page.sid, "type": "screen"}] for event in heard)
    assert (await here.worker.roster("r")).count == 0


# Other protocols.


async def test_envelopes_of_other_members_are_events_of_their_own(here: Site) -> None:
    a, b = await here.join(), await here.join()
    assert (await a.ask("relay", {"channel": "chat", "message": {"type": "offer"}}))[0] is None
    name, envelope = await b.event()
    assert (name, envelope["from"], envelope["message"]) == ("relay", a.sid, {"type": "offer"})
    a.emit("relay", {"to": b.sid, "message": "for b"})
    assert (await b.event())[1]["message"] == "for b"
    assert await a.ask("relay", {"to": "nobody", "message": 1}) == ["no_such_peer"]


# Bad input.


@pytest.mark.parametrize(
    "values",
    [
        ["join"],
        ["join", {"name": "r"}],
        ["join", 7],
        ["create", ["r"]],
        ["message"],
        ["message", None],
        ["message", "text"],
        ["message", {"to": {"a": 1}}],
        ["chat", "x"],
        ["relay:refresh"],
    ],
)
@pytest.mark.parametrize("number", ["", "5"])
async def test_an_event_that_cannot_be_read_gets_an_error_and_harms_nothing(
    values: list[Any], number: str, here: Site
) -> None:
    page = await here.open()
    page.emit(*values, number=number)
    name, error = await page.event()
    assert (name, error["code"]) == ("error", "bad_event")
    assert await page.ask("join", "r") == [None, {"clients": {}}]


async def test_callbacks_that_are_missing_and_events_before_a_join(here: Site) -> None:
    page = await here.open()
    for values in (["trace", {}], ["unshareScreen"], ["shareScreen"], ["leave"]):
        page.emit(*values)
    await page.hears_nothing()
    for values in (["relay", {"message": 1}], ["message", {"to": page.sid}]):
        page.emit(*values)
        assert (await page.event())[1]["code"] == "not_joined"
    page.emit("join", "r")
    await page.hears_nothing()
    assert list(await here.members()) == [page.sid]


@pytest.mark.parametrize("name", ["join", "create", "message", "relay", "trace", "leave", "shareScreen"])
async def test_an_event_of_a_megabyte_is_refused(name: str) -> None:
    async with site(max_message=100_000) as one:
        page = await one.open()
        page.emit(name, {"to": "x", "payload": "x" * 1_000_000})
        event, error = await page.event()
        assert (event, error["code"]) == ("error", "too_large")
        assert await page.ask("join", "r") == [None, {"clients": {}}]


async def test_a_name_of_a_megabyte_is_no_name(here: Site) -> None:
    page = await here.open()
    assert await page.ask("join", "x" * 1_000_000) == ["bad_room"]


# Tokens.


def granting(room: str, **claims: Any) -> str:
    return token(rooms=[room], **claims)


@asynccontextmanager
async def guarded() -> AsyncIterator[Site]:
    async with site(auth="required", auth_secret=SECRET) as one:
        yield one


async def test_a_token_opens_its_rooms_alone() -> None:
    async with guarded() as one:
        page = await one.open(granting("r"))
        assert await page.ask("join", "other") == ["not_granted"]
        assert await page.ask("create", "other") == ["not_granted"]
        assert await page.ask("create", "r") == [None, "r"]
        assert list(await one.members()) == [page.sid]


async def test_a_page_without_a_token_is_not_connected() -> None:
    async with guarded() as one:
        assert (await (await one.connect()).next()).startswith("44")


async def test_a_token_may_name_the_page() -> None:
    async with guarded() as one:
        await (await one.open(granting("r", sub="ann"))).ask("join", "r")
        sam = await one.open(granting("r", sub="sam-*", info={"role": "x"}))
        assert await sam.ask("join", "r") == [None, {"clients": {"ann": VIDEO}}]
        assert set(await one.members()) == {"ann", f"sam-{sam.sid}"}
        # The part for which the token vouches stays with the member.
        sam.emit("shareScreen")
        await sam.hears_nothing()
        assert (await one.members())[f"sam-{sam.sid}"] == {"$token": {"role": "x"}, "simplewebrtc": SCREEN}


async def test_a_newer_token_takes_the_place_of_the_first() -> None:
    async with guarded() as one:
        page = await one.open(granting("one"))
        (error, answer) = await page.ask("relay:refresh", granting("two"))
        assert error is None
        assert answer["expires"] > 0
        assert await page.ask("join", "one") == ["not_granted"]
        assert await page.ask("join", "two") == [None, {"clients": {}}]
        assert await page.ask("relay:refresh", "nonsense") == ["bad_token"]


async def test_without_the_right_to_see_members_there_is_nobody_to_call() -> None:
    async with guarded() as one:
        await (await one.open(granting("r"))).ask("join", "r")
        page = await one.open(token(rooms=[{"room": "r", "can": ["join", "send-direct"]}]))
        assert await page.ask("join", "r") == [None, {"clients": {}}]
        await page.hears_nothing()


async def test_the_id_of_a_page_is_known_to_others_and_proves_nothing_any_more(here: Site) -> None:
    page = await here.open()
    assert page.session.announced
    assert page.session.accepts("here")
    assert not page.session.accepts("there")


async def test_changes_while_redis_was_away_are_told(here: Site) -> None:
    a, b = await here.join(), await here.join()
    await b.meets(a)
    handler: Any = a.session._handler
    client: Any = handler._namespaces.session("/")._client
    assert client.deliver(events.PresenceList("r", events.Roster(1, [events.Present(a.sid)])))
    assert await a.event() == ["remove", {"id": b.sid}]
