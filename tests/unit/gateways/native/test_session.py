"""Native clients that subscribe to topics, over the memory backend."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay.config import Settings
from relay.gateways.base.join_request import JoinRequest, ObserveRequest
from relay.gateways.native.session import NativeSession, TopicCodec
from relay.model.commands import Join
from relay.model.envelope import MessageId
from relay.model.errors import UNAVAILABLE, Unavailable
from relay.model.events import Message, Welcome
from relay.rooms.observer import Sight
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import CODECS, Client, FakeConnection, until, until_members


class Page(Client):
    """A client with the session of the native gateway."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.connection = FakeConnection()
        self.ticket = worker.admissions.admit("here", "native")
        self.session = NativeSession(self.connection, worker, CODECS, self.ticket)

    async def enter(self, room: str = "default", peer: str = "p") -> "Page":
        await self.session.enter(lambda: JoinRequest(room, peer))
        return self

    async def pong(self) -> list[dict[str, Any]]:
        """The events up to now; the relay serves one command after the other."""
        self.send(type="ping")
        await until(lambda: any(event["type"] == "pong" for event in self.connection.events))
        events, self.connection.events = self.connection.events, []
        return [event for event in events if event["type"] not in ("pong", "welcome", "left")]

    @property
    def publications(self) -> list[dict[str, Any]]:
        return [event for event in self.connection.events if event.get("type") == "publish"]

    async def subscribed(self, *topics: str) -> list[dict[str, Any]]:
        self.send(type="subscribe", topics=topics)
        return await self.pong()


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    async with Worker(Settings(rooms_per_connection=2)) as worker:
        yield worker


async def peers(worker: Worker, room: str) -> list[str]:
    return [one.peer for one in (await worker.roster(room)).members]


async def test_a_publication_reaches_the_other_subscribers_alone(worker: Worker) -> None:
    ann, ben, carl = [await Page(worker).enter(peer=peer) for peer in "abc"]
    for page in (ann, ben):
        assert await page.subscribed("my doc") == []
    await carl.subscribed("another doc")
    ann.send(type="publish", topic="my doc", data={"type": "announce", "from": "x"})
    await until(lambda: ben.publications)
    assert ben.publications == [{"type": "publish", "topic": "my doc", "data": {"type": "announce", "from": "x"}}]
    assert await ann.pong() == await carl.pong() == []


async def test_the_first_subscription_ends_the_membership_of_the_address(worker: Worker) -> None:
    page = await Page(worker).enter("app")
    assert page.connection.events[0]["room"] == "app"
    assert await page.subscribed("doc") == []
    await until_members(worker, "app", {})
    [peer] = await peers(worker, "app%2Fdoc")
    assert peer != "p"
    # A ping without a room is answered all the same.
    page.send(type="ping", key="k")
    await until(lambda: page.connection.events)
    assert page.connection.events[-1] == {"type": "pong", "key": "k"}


async def test_subscribing_again_changes_nothing(worker: Worker) -> None:
    page = await Page(worker).enter()
    await page.subscribed("doc")
    before = await peers(worker, "doc")
    assert await page.subscribed("doc") == []
    assert await peers(worker, "doc") == before


async def test_a_topic_named_like_the_room_of_the_address_stays_subscribed(worker: Worker) -> None:
    page, other = await Page(worker).enter(), await Page(worker).enter(peer="other")
    await page.subscribed("default")
    await page.subscribed("doc")
    other.send(type="subscribe", topics=["default"])
    other.send(type="publish", topic="default", data=1)
    await until(lambda: page.publications)
    assert len(await peers(worker, "default")) == 2
    page.send(type="unsubscribe", topics=["default"])
    assert await page.pong() == [{"type": "publish", "topic": "default", "data": 1}]
    assert len(await peers(worker, "default")) == 1


async def test_each_topic_that_is_refused_gets_an_error_and_the_others_are_joined(worker: Worker) -> None:
    page = await Page(worker).enter()
    errors = await page.subscribed("one", "", "two", "three")
    assert [(error["code"], error["about"], error.get("room")) for error in errors] == [
        ("bad_room", "subscribe", None), ("too_many_rooms", "subscribe", "three"),
    ]  # fmt: skip
    assert len(await peers(worker, "one")) == len(await peers(worker, "two")) == 1
    assert page.connection.reason is None


async def test_unsubscribing_leaves_the_rooms(worker: Worker) -> None:
    page = await Page(worker).enter()
    await page.subscribed("one", "two")
    page.send(type="unsubscribe", topics=["one", "never joined", "."])
    assert [error["code"] for error in await page.pong()] == ["bad_room"]
    await until_members(worker, "one", {})
    page.send(type="publish", topic="one", data=1)
    assert [error["code"] for error in await page.pong()] == ["not_joined"]
    assert len(await peers(worker, "two")) == 1


async def test_a_lost_page_leaves_its_topics_and_is_held_in_other_rooms(worker: Worker) -> None:
    page = await Page(worker).enter()
    await page.subscribed("doc")
    page.send(type="join", room="chat")
    assert await page.pong() == []
    page.session.disconnected(1006, None)
    await until_members(worker, "doc", {})
    await until_members(worker, "chat", {"p": True})


async def test_a_page_that_cannot_subscribe_without_redis_is_closed_so_that_it_comes_back(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = await Page(worker).enter()

    async def join(*_: object, **__: object) -> None:
        raise Unavailable

    monkeypatch.setattr(worker, "join", join)
    page.send(type="subscribe", topics=["doc"])
    await until(lambda: page.connection.reason)
    assert page.connection.reason is UNAVAILABLE


async def test_a_client_that_observes_subscribes_to_no_topic(worker: Worker) -> None:
    page = Page(worker)
    await page.session.enter(lambda: ObserveRequest("doc", Sight.COUNTS))
    assert [error["code"] for error in await page.subscribed("doc", "other")] == ["observing"]
    page.send(type="publish", topic="doc", data=1)
    assert [error["code"] for error in await page.pong()] == ["observing"]


async def test_a_native_client_in_the_room_of_a_topic(worker: Worker) -> None:
    page, native = await Page(worker).enter(), await Page(worker).enter("doc", "n")
    await page.subscribed("doc")
    native.connection.events.clear()
    native.send(channel="chat", message="not for pages")
    native.send(channel="y-webrtc", message="for pages")
    native.send(channel="y-webrtc")
    await until(lambda: len(page.publications) == 2)
    assert [event["data"] for event in page.publications] == ["for pages", None]
    page.send(type="publish", topic="doc", data="for all", key="k")
    await until(lambda: native.connection.events)
    [heard] = native.connection.events
    assert (heard["channel"], heard["message"]) == ("y-webrtc", "for all")


def test_the_codec_of_topics_writes_messages_as_publications_byte_for_byte() -> None:
    codec = TopicCodec("app")
    body = b'{"channel":"y-webrtc","message":{"a": 1.50},"from":"p","id":"1-2"'
    message = Message("app%2F%22", MessageId(1, 2), "p", (), "y-webrtc", body)
    assert codec.encode(message).data == b'{"type":"publish","topic":"\\"","data":{"a": 1.50}}'
    assert codec.key != TopicCodec("").key


def test_all_other_events_are_those_of_a_native_client_in_one_more_room() -> None:
    welcome = Welcome("app%2Fdoc", "p", MessageId(1, 2), "k")
    assert TopicCodec("app").encode(welcome).data == CODECS.tagged.encode(welcome).data


def test_a_join_is_held_unless_it_says_otherwise() -> None:
    assert Join("room").can_resume
