"""The namespaces of one client: rooms, limits, and what ends one of them or all."""

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

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.ticket = worker.admissions.admit("here", "socketio")
        self.connection: Any = FakeConnection()
        self.paused: list[bool] = []

    def pause_reading(self, *, paused: bool) -> None:
        self.paused.append(paused)

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
        assert [room for room, _ in await one.shared.worker.rooms()] == ["default"]


async def test_the_handshakes_room_is_text() -> None:
    async with client("a/b %20") as one:
        await one.enter("/")
        assert [room for room, _ in await one.shared.worker.rooms()] == ["a%2Fb%20%2520"]


def test_a_codec_is_made_once_for_a_version_a_namespace_and_an_application() -> None:
    version = ProtocolVersion(Settings(), "test", partial(ModernEncoder, 4))
    app, form = version.applications.choose({})("/"), OffsetForm.EVENT
    assert version.codecs("/rooms/a", app, form) is version.codecs("/rooms/a", app, form)
    assert version.codecs("/rooms/a", app, form).own.key != version.codecs("/rooms/b", app, form).own.key


async def test_the_handshakes_room_is_that_of_the_first_namespace_alone() -> None:
    async with client("there") as one:
        await one.enter("/", "/rooms/a")
        assert [room for room, _ in await one.shared.worker.rooms()] == ["a", "there"]


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
        assert await worker.rooms() == [("%C3%A9", 1)]


# Limits.


async def test_what_is_refused_is_answered_and_leaves_nothing_behind() -> None:
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
            while (await one.shared.worker.rooms()) != [("default", 1)]:
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
            while await one.shared.worker.rooms():
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
