"""The endpoints of the native protocol: requests, and their sessions and refusals."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from starlette.routing import Router

from relay.app import create_app
from relay.config import Settings
from relay.gateways.base.inbox import Inbox
from relay.gateways.base.joined_rooms import JoinedRooms
from relay.gateways.base.query import parse_since
from relay.gateways.native.channel_session import ChannelSession
from relay.gateways.native.gateway import choose_subprotocol, read_resume_key
from relay.gateways.native.routes import routes
from relay.model.envelope import MessageId
from relay.model.errors import Refused
from relay.rooms.claim import Claim
from relay.rooms.connection import WireConnection
from relay.rooms.member import Member
from relay.rooms.worker import Worker
from relay.wire.websocket import WebSocketProtocol
from tests.unit.gateways.base.fakes import AsgiClient, until, until_members
from tests.unit.serving import running

SETTINGS = Settings(default_room="lobby", handshake_rate=1000)
MASKED_CLOSE = b"\x88\x82\0\0\0\0\x03\xe8"


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    async with Worker(SETTINGS) as worker:
        yield worker


class Visit:
    """A client of the routes, from the handshake on."""

    def __init__(self, worker: Worker, path: str, **scope: Any) -> None:
        self.client = AsgiClient(worker, path, **scope)
        self.task = asyncio.create_task(
            Router(routes(SETTINGS))(self.client.scope, self.client.receive, self.client.send)
        )

    async def first(self) -> dict[str, Any]:
        """The first event; the visit ends with it."""
        await until(lambda: self.client.events or self.task.done())
        self.client.leave()
        await self.task
        return self.client.events[0]


@pytest.mark.parametrize(
    ("path", "room"),
    [
        ("/", "lobby"),
        ("/rooms/r", "r"),
        ("/rooms/a@b;c", "a@b;c"),
        ("/rooms/a%2Fb", "a%2Fb"),
        ("/rooms/a%20b", "a%20b"),
        ("/rooms/%D1%8F", "%D1%8F"),
    ],
)
async def test_a_path_names_the_room(worker: Worker, path: str, room: str) -> None:
    welcome = await Visit(worker, path).first()
    assert (welcome["type"], welcome["room"]) == ("welcome", room)


@pytest.mark.parametrize("path", ["/rooms/", "/rooms/%2E", "/rooms/a%0Ab", "/rooms/" + "x" * 256])
async def test_a_path_below_rooms_that_names_none_is_an_error_event(worker: Worker, path: str) -> None:
    error = await Visit(worker, path).first()
    assert (error["type"], error["code"], error["about"]) == ("error", "bad_room", "join")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/?observe=presence", ""),
        ("/rooms/r?observe=presence", ""),
        ("/?observe=", "bad_query"),
        ("/?observe=1", "bad_query"),
        ("/?observe=presence&peer=a", "bad_query"),
        ("/?observe=presence&since=1-1", "bad_query"),
        ("/?observe=presence&echo=0", "bad_query"),
        ("/?observe=presence&info={}", "bad_query"),
        ("/?observe=presence&presence=1", "bad_query"),
        ("/?observe=presence&channel=c", "bad_query"),
        ("/rooms/?observe=presence", "bad_room"),
        ("/?observe=messages", "forbidden"),
        ("/?observe=all", "forbidden"),
    ],
)
async def test_a_client_may_observe_a_room(worker: Worker, path: str, code: str) -> None:
    event = await Visit(worker, path).first()
    assert event.get("code", "") == code
    if not code:
        assert (event["type"], event["observer"], event["count"], "members" in event) == ("welcome", True, 0, False)


async def test_an_observer_is_in_no_topic(worker: Worker) -> None:
    visit = Visit(worker, "/?observe=presence")
    for key, command in enumerate(
        [
            {"type": "subscribe", "topics": ["t"]},
            {"type": "publish", "topic": "t", "data": 1},
            {"type": "unsubscribe", "topics": ["t"]},
        ]
    ):
        visit.client.say(key=str(key), **command)
    visit.client.say(type="ping")
    await until(lambda: len(visit.client.events) == 5)
    visit.client.leave()
    await visit.task
    assert [event.get("code") for event in visit.client.events[1:]] == ["observing"] * 3 + [None]
    assert (await worker.list_rooms()).rooms == []


@pytest.mark.parametrize("observed", ["presence", "messages", "all"])
async def test_with_the_admin_token_a_client_observes_all_that_it_asks_for(observed: str) -> None:
    async with Worker(Settings(admin_token="s3cret")) as worker:
        visit = Visit(worker, f"/rooms/r?observe={observed}", subprotocols=["relay.v1", "token.s3cret"])
        welcome = await visit.first()
        assert (welcome["observer"], "members" in welcome) == (True, observed != "messages")
        assert visit.client.sent[0]["subprotocol"] == "relay.v1"
        wrong = await Visit(worker, f"/?observe={observed}", subprotocols=["token.wrong"]).first()
        assert wrong["code"] == "unauthorized"


async def test_a_client_names_its_peer_or_gets_a_name(worker: Worker) -> None:
    assert (await Visit(worker, "/?peer=ann").first())["peer"] == "ann"
    names = {(await Visit(worker, "/?peer=").first())["peer"], (await Visit(worker, "/").first())["peer"]}
    assert len(names) == 2
    assert (await Visit(worker, "/?peer=any%20name").first())["peer"] == "any%20name"
    for bad in ("no%0Aname", "$server", "%24server", "x" * 256):
        assert (await Visit(worker, f"/?peer={bad}").first())["code"] == "bad_peer"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", (False, False, None)),
        ("echo=1&presence=true", (True, True, None)),
        ("echo=0&presence=false", (False, False, None)),
        ("echo=&channel=a&channel=b", (False, False, {"a", "b"})),
    ],
)
async def test_the_query_says_what_the_client_wants_to_hear(
    worker: Worker, query: str, expected: tuple[bool, bool, set[str] | None]
) -> None:
    joined: list[Member] = []
    join = worker.join

    async def note(member: Member, claim: Claim, **arguments: Any) -> None:
        joined.append(member)
        await join(member, claim, **arguments)

    worker.join = note  # type: ignore[method-assign]
    await Visit(worker, f"/rooms/r?{query}").first()
    (member,) = joined
    assert (member.echo, member.presence, member.channels) == expected


@pytest.mark.parametrize("query", ["echo=yes", "presence=2", "since=5", "channel=" + "x" * 2049])
async def test_a_query_that_cannot_be_read_is_an_error_event(worker: Worker, query: str) -> None:
    error = await Visit(worker, f"/rooms/r?{query}").first()
    assert (error["code"], error["about"]) == ("bad_query", "join")


@pytest.mark.parametrize(
    ("address", "room"),
    [
        ("/?room=", "lobby"),
        ("/?room=a%20b", "a%20b"),
        ("/rooms/a%20b?room=a%20b", "a%20b"),
        ("/rooms/a?room=", "a"),
    ],
)
async def test_the_room_may_be_a_parameter(worker: Worker, address: str, room: str) -> None:
    assert (await Visit(worker, address).first())["room"] == room


async def test_two_rooms_in_one_address_are_an_error(worker: Worker) -> None:
    error = await Visit(worker, "/rooms/a?room=b").first()
    assert error["code"] == "bad_query"
    assert "leave it out" in error["text"]


async def test_a_client_enters_with_its_info(worker: Worker) -> None:
    welcome = await Visit(worker, "/rooms/r?peer=p&presence=1&info=%7B%22name%22%3A+%22Zo%C3%AB%22%7D").first()
    assert welcome["members"] == [{"peer": "p", "info": {"name": "Zoë"}}]


@pytest.mark.parametrize("info", ["", "x", "[]", "%7B%22a%22%3A%22" + "x" * 1024 + "%22%7D"])
async def test_an_info_that_cannot_be_read_is_an_error_event(worker: Worker, info: str) -> None:
    error = await Visit(worker, f"/rooms/r?info={info}").first()
    assert (error["code"], error["about"]) == ("bad_info", "join")


@pytest.mark.parametrize(
    "credentials",
    [
        lambda key: {"headers": [(b"authorization", b"Resume " + key.encode())]},
        lambda key: {"subprotocols": ["relay.v1", f"resume.{key}"]},
    ],
)
async def test_a_client_comes_back_with_its_resume_key(worker: Worker, credentials: Callable[[str], Any]) -> None:
    first = Visit(worker, "/rooms/r?peer=ann")
    await until(lambda: first.client.events)
    (welcome,) = first.client.events
    first.client.leave(1006)
    await first.task
    await until_members(worker, "r", {"ann": True})
    again = await Visit(worker, f"/rooms/r?peer=ann&since={welcome['id']}", **credentials(welcome["resume"])).first()
    assert (again["resumed"], again["recovered"]) == (True, True)


async def test_the_subprotocol_of_the_relay_is_chosen_and_no_secret_returned(worker: Worker) -> None:
    visit = Visit(worker, "/", subprotocols=["resume.key", "relay.v1"])
    await visit.first()
    assert visit.client.sent[0]["subprotocol"] == "relay.v1"


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([], None),
        (["relay.v1"], "relay.v1"),
        (["resume.k", "relay.v1"], "relay.v1"),
        (["resume.k"], None),
        (["token.t", "other", "third"], "other"),
    ],
)
def test_no_secret_is_ever_chosen_as_subprotocol(offered: list[str], chosen: str | None) -> None:
    assert choose_subprotocol(offered) == chosen


def test_a_resume_key_comes_as_header_or_as_subprotocol() -> None:
    assert read_resume_key("Resume abc", []) == "abc"
    assert read_resume_key("resume  abc ", ["resume.other"]) == "abc"
    assert read_resume_key("", ["relay.v1", "resume.abc"]) == "abc"
    assert read_resume_key("Bearer abc", ["token.x"]) == ""
    assert read_resume_key("", ["resume." + "x" * 64]) == "x" * 64
    for authorization, offered in (("Resume " + "x" * 65, []), ("", ["resume." + "x" * 65])):
        with pytest.raises(Refused, match="64 characters"):
            read_resume_key(authorization, offered)


def test_the_last_id_that_a_client_has_seen() -> None:
    assert parse_since("") is None
    assert parse_since("5-6") == MessageId(5, 6)
    with pytest.raises(Refused) as refused:
        parse_since("5")
    assert refused.value.code == "bad_query"


async def test_a_hundred_closed_connections_are_freed_by_reference_counts_alone() -> None:
    kinds = (ChannelSession, Inbox, JoinedRooms, Member, WireConnection, WebSocketProtocol)

    def alive() -> int:
        return sum(type(one) in kinds for one in gc.get_objects())

    async with running(create_app(Settings(handshake_rate=1000))) as served:
        gc.collect()
        before = alive()
        gc.disable()
        try:
            clients = [await served.upgrade() for _ in range(100)]
            for reader, _ in clients:
                assert b'"welcome"' in await reader.readuntil(b"}")
            assert alive() >= before + 100 * len(kinds)
            for number, (_, writer) in enumerate(clients):
                if number % 2:
                    writer.write(MASKED_CLOSE)
                else:
                    writer.transport.abort()
            async with asyncio.timeout(10):
                while alive() > before:
                    await asyncio.sleep(0.01)
        finally:
            gc.enable()
            for _, writer in clients:
                writer.close()
