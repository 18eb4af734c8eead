"""The namespaces of one client: rooms, limits, and the ends of one of them or of all."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from relay.config import Settings
from relay.gateways.base.join_request import JoinRequest
from relay.gateways.socketio.codec import incoming_event
from relay.gateways.socketio.encoders import ModernEncoder, PacketEncoder
from relay.gateways.socketio.namespaces import Namespaces, ProtocolVersion, room_of
from relay.gateways.socketio.offsets import OffsetForm
from relay.gateways.socketio.v09.packets import V09Encoder
from relay.model.errors import GOING_AWAY, INTERNAL, REPLACED, TOO_FAST, Refused
from relay.rooms.worker import Worker
from tests.unit.gateways.socketio.clients import FakeConnection


class Shared:
    """A client's connection, of which each pause is kept."""

    id = "sid"
    announced = False

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.ticket = worker.admissions.admit("here", "socketio")
        self.connection: Any = FakeConnection()
        self.paused: list[bool] = []

    def pause_reading(self, *, paused: bool) -> None:
        self.paused.append(paused)

    def transfer(self) -> None:
        return None

    @property
    def written(self) -> list[str]:
        return [data.decode() for data in self.connection.written]

    async def until(self, condition: Callable[[], Any]) -> None:
        await self.connection.until(condition)


class Client:
    def __init__(self, worker: Worker, room: str | None = None, version: ProtocolVersion | None = None) -> None:
        self.shared = Shared(worker)
        version = version or ProtocolVersion(worker.settings, "test", partial(ModernEncoder, 4))
        self.namespaces = Namespaces(self.shared, {} if room is None else {"room": room}, version)
        self.peer = worker.random.peer_id()

    async def enter(self, *names: str) -> None:
        for name in names:
            expected = len(self.shared.written) + 1
            self.namespaces.enter(name, self.request)
            await self.shared.until(lambda expected=expected: len(self.shared.written) >= expected)

    def request(self, room: str) -> JoinRequest:
        return JoinRequest(room, self.peer, can_resume=False)

    def emit(self, namespace: str, number: str) -> None:
        session = self.namespaces.session(namespace)
        assert session is not None
        session.received(incoming_event([b'"a"'], number, ()))


@asynccontextmanager
async def client(room: str | None = None, **settings: Any) -> AsyncIterator[Client]:
    async with Worker(Settings(**settings)) as worker:
        yield Client(worker, room)


# Rooms.


@pytest.mark.parametrize(
    ("namespace", "room"),
    [
        ("/", "lobby"),
        ("/rooms/a", "a"),
        ("/rooms/a/", "a"),
        ("/rooms/a%20b", "a%20b"),
        ("/rooms/a b", "a%20b"),
        ("/rooms/a%2Fb", "a%2Fb"),
        ("/rooms/café", "caf%C3%A9"),
        ("/rooms/a%2520b", "a%2520b"),
    ],
)
def test_a_namespace_stands_for_a_room(namespace: str, room: str) -> None:
    assert room_of(namespace, Settings(default_room="lobby")) == room


@pytest.mark.parametrize("namespace", ["/chat", "/room/a", "/rooms", "/rooms/a/b", "/rooms/a//"])
def test_other_namespaces_are_invalid(namespace: str) -> None:
    with pytest.raises(Refused, match="bad_namespace"):
        room_of(namespace, Settings())


@pytest.mark.parametrize("namespace", ["/rooms/", "/rooms//", "/rooms/..", "/rooms/%0A", "/rooms/%FF", "/rooms/%"])
def test_names_that_no_room_has(namespace: str) -> None:
    with pytest.raises(Refused, match="bad_room"):
        room_of(namespace, Settings())


async def test_an_empty_room_in_the_handshake_is_the_default_room() -> None:
    async with client("") as one:
        await one.enter("/")
        assert [room for room, _ in (await one.shared.worker.list_rooms()).rooms] == ["default"]


async def test_the_handshakes_room_is_text() -> None:
    async with client("a/b %20") as one:
        await one.enter("/")
        assert [room for room, _ in (await one.shared.worker.list_rooms()).rooms] == ["a%2Fb%20%2520"]


def test_a_codec_is_made_once_for_a_version_a_namespace_and_an_application() -> None:
    version = ProtocolVersion(Settings(), "test", partial(ModernEncoder, 4))
    app, form = version.applications.choose({})("/"), OffsetForm.EVENT
    assert version.codecs("/rooms/a", app, form) is version.codecs("/rooms/a", app, form)
    assert version.codecs("/rooms/a", app, form).own.key != version.codecs("/rooms/b", app, form).own.key


async def test_the_handshakes_room_is_that_of_the_first_namespace_alone() -> None:
    async with client("there") as one:
        await one.enter("/", "/rooms/a")
        assert [room for room, _ in (await one.shared.worker.list_rooms()).rooms] == ["a", "there"]


@pytest.mark.parametrize(("encoder", "refused"), [(partial(ModernEncoder, 3), '44"'), (V09Encoder, "7::/rooms/é:2")])
async def test_a_namespace_that_packets_cannot_carry_is_refused(
    encoder: Callable[[str], PacketEncoder], refused: str
) -> None:
    async with Worker(Settings()) as worker:
        one = Client(worker, version=ProtocolVersion(worker.settings, "test", encoder, ascii_names=True))
        await one.enter("/rooms/é", "/rooms/%C3%A9")
        first, second = one.shared.written
        assert first.startswith(refused)
        assert "/rooms/%C3%A9" in second
        assert (await worker.list_rooms()).rooms == [("%C3%A9", 1)]


# One room, several names.


class Strangers(Client):
    """A client that gets another peer id in each namespace, as Socket.IO clients do."""

    def request(self, room: str) -> JoinRequest:
        return JoinRequest(room, self.shared.worker.random.peer_id(), can_resume=False)

    async def count(self, room: str) -> int:
        return dict((await self.shared.worker.list_rooms()).rooms).get(room, 0)

    async def until_counted(self, room: str, members: int) -> None:
        async with asyncio.timeout(5):
            while await self.count(room) != members:
                await asyncio.sleep(0)

    @property
    def codes(self) -> list[str]:
        return [text.partition('"code":"')[2].partition('"')[0] for text in self.shared.written]


@asynccontextmanager
async def strangers(room: str | None = None, **settings: Any) -> AsyncIterator[Strangers]:
    async with Worker(Settings(**settings)) as worker:
        yield Strangers(worker, room)


@pytest.mark.parametrize(
    "names",
    [
        ["/rooms/a", "/rooms/%61", "/rooms/a/", "/rooms/%61/"],
        ["/rooms/a%2fb", "/rooms/a%2Fb", "/rooms/%61%2F%62"],
        ["/rooms/\u00e9", "/rooms/%C3%A9", "/rooms/%c3%a9", "/rooms/%C3%a9/"],
        ["/rooms/there", "/", "/rooms/%74here"],
        ["/", "/rooms/there", "/rooms/%74here"],
    ],
)
async def test_a_connection_is_in_a_room_once_however_its_namespaces_name_it(names: list[str]) -> None:
    async with strangers("there") as one:
        await one.enter(*names)
        assert one.codes == ["", *["already_joined"] * (len(names) - 1)]
        assert [members for _, members in (await one.shared.worker.list_rooms()).rooms] == [1]


async def test_namespaces_that_are_entered_together_are_in_the_room_once() -> None:
    async with strangers() as one:
        for number in range(32):
            one.namespaces.enter(f"/rooms/%{97 + number % 4:x}{'/' * (number % 2)}", one.request)
        await one.shared.until(lambda: len(one.shared.written) >= 32)
        assert (await one.shared.worker.list_rooms()).rooms == [("a", 1), ("b", 1), ("c", 1), ("d", 1)]


async def test_texts_that_only_look_alike_name_two_rooms() -> None:
    async with strangers() as one:
        await one.enter("/rooms/\u00e9", "/rooms/e\u0301", "/rooms/A", "/rooms/a", "/rooms/a%20", "/rooms/%2561")
        assert one.codes == [""] * 6


async def test_a_room_that_was_left_is_entered_by_another_name() -> None:
    async with strangers() as one:
        await one.enter("/rooms/a")
        one.namespaces.leave("/rooms/a")
        await one.enter("/rooms/%61")
        one.namespaces.leave("/rooms/%61")
        await one.enter("/rooms/a")
        assert one.codes == [""] * 3
        await one.until_counted("a", 1)


async def test_a_namespace_may_be_left_and_entered_again_before_it_is_in_its_room() -> None:
    async with strangers() as one:
        for _ in range(3):
            one.namespaces.enter("/rooms/a", one.request)
            one.namespaces.leave("/rooms/a")
        await one.enter("/rooms/a")
        await one.until_counted("a", 1)
        assert "already_joined" not in one.codes


async def test_a_client_moves_to_no_room_in_which_it_is_by_another_namespace() -> None:
    async with strangers() as one:
        await one.enter("/rooms/a", "/rooms/b")
        session = one.namespaces.session("/rooms/b")
        assert session is not None
        for number, room in enumerate(["a", "c"]):
            session.received(incoming_event([b'"join"', f'"{room}"'.encode()], str(number), ()))
        await one.shared.until(lambda: len(one.shared.written) >= 4)
        assert "already_joined" in one.shared.written[2]
        await one.enter("/rooms/c", "/rooms/%62")
        assert one.codes[-2:] == ["already_joined", ""]


async def test_a_namespace_that_was_not_asked_for_gives_way_to_one_that_is() -> None:
    """A client of revision 3 is in `/` from the beginning, and so in the default room."""
    async with strangers() as one:
        one.namespaces.enter("/", one.request, unasked=True)
        await one.shared.until(lambda: len(one.shared.written) >= 1)
        await one.enter("/rooms/a", "/rooms/default", "/rooms/%64efault")
        assert one.codes == ["", "", "", "already_joined"]
        assert one.namespaces.session("/") is None
        await one.until_counted("default", 1)


# Limits.


async def test_a_refused_namespace_is_answered_and_leaves_nothing_behind() -> None:
    async with client(rooms_per_connection=1) as one:
        await one.enter("/chat", "/rooms/%0A", "/rooms/a", "/rooms/b")
        codes = [text.partition('"code":"')[2].partition('"')[0] for text in one.shared.written]
        assert codes == ["", "bad_room", "", "too_many_rooms"]
        assert one.shared.written[0] == '44/chat,{"message":"Invalid namespace"}'
        assert [one.namespaces.session(name) for name in ("/chat", "/rooms/%0A", "/rooms/b")] == [None] * 3
        assert one.shared.connection.reason is None


async def test_entering_and_messages_share_one_rate_and_a_flood_closes_the_connection() -> None:
    async with client(message_rate=0.1) as one:  # of which ten may come at once
        await one.enter("/", "/rooms/a")
        for number in range(8):
            one.emit("/", str(number))
        await one.shared.until(lambda: len(one.shared.written) == 10)
        # Entering cannot wait. It is counted, so that the messages after it wait for longer.
        await one.enter("/rooms/b")
        one.emit("/", "9")
        assert one.shared.paused[-1] is True
        assert "too_fast" not in "".join(one.shared.written)
        for _ in range(1000):
            one.namespaces.enter("/chat", one.request)
        assert '"too_fast"' in one.shared.written[-1]
        assert one.shared.connection.reason is TOO_FAST


# Ends.


async def test_leaving_one_namespace_leaves_the_others() -> None:
    async with client() as one:
        await one.enter("/", "/rooms/a")
        one.namespaces.leave("/rooms/a")
        assert one.namespaces.session("/rooms/a") is None
        async with asyncio.timeout(5):
            while (await one.shared.worker.list_rooms()).rooms != [("default", 1)]:
                await asyncio.sleep(0)
        assert one.shared.connection.reason is None


async def test_a_replaced_client_loses_the_namespace_and_does_not_come_back() -> None:
    async with client() as one:
        await one.enter("/", "/rooms/a")
        session: Any = one.namespaces.session("/rooms/a")
        session.close_gracefully(REPLACED, now=True)
        assert one.shared.written[-1] == "41/rooms/a,"
        assert one.namespaces.session("/rooms/a") is None
        assert one.namespaces.session("/") is not None
        assert one.shared.connection.reason is None


async def test_a_fault_closes_the_connection() -> None:
    async with client() as one:
        await one.enter("/", "/rooms/a")
        session: Any = one.namespaces.session("/rooms/a")
        session.close_gracefully(INTERNAL, now=True)
        assert one.shared.connection.reason is INTERNAL
        assert len(one.shared.written) == 2


async def test_a_worker_that_stops_closes_the_connection_with_the_last_namespace() -> None:
    async with client() as one:
        await one.enter("/", "/rooms/a")
        one.emit("/rooms/a", "1")
        one.namespaces.close_gracefully(GOING_AWAY, now=False)
        assert one.shared.connection.reason is None  # one of them has not been answered
        await one.shared.until(lambda: one.shared.connection.reason)
        assert one.shared.connection.reason is GOING_AWAY
        assert one.shared.written[-1].startswith("43/rooms/a,1[")


async def test_a_client_without_namespaces_is_closed_at_once() -> None:
    async with client() as one:
        one.namespaces.close_gracefully(GOING_AWAY, now=False)
        assert one.shared.connection.reason is GOING_AWAY


@pytest.mark.parametrize("goodbye", [True, False])
async def test_the_end_of_the_connection_ends_all_namespaces(goodbye: bool) -> None:
    async with client() as one:
        await one.enter("/", "/rooms/a")
        one.namespaces.disconnected(goodbye=goodbye)
        assert one.namespaces.session("/") is None
        async with asyncio.timeout(5):
            while (await one.shared.worker.list_rooms()).rooms:
                await asyncio.sleep(0)


async def test_a_namespace_that_leaves_resumes_reading() -> None:
    async with client(max_inflight_publishes=1) as one:
        await one.enter("/")
        for number in "123":
            one.emit("/", number)
        assert one.shared.paused == [True]  # once, however many messages wait
        one.namespaces.leave("/")
        assert one.shared.paused == [True, False]


async def test_each_namespace_counts_as_a_session_while_it_is_entered() -> None:
    async with client() as ann:
        await ann.enter("/", "/rooms/a")
        assert ann.shared.ticket.metrics.sessions == 2
        ann.namespaces.leave("/")
        assert ann.shared.ticket.metrics.sessions == 1
        ann.namespaces.disconnected(goodbye=True)
        assert ann.shared.ticket.metrics.sessions == 0
