"""Pages that open channels as at websocket-over-nodejs, over the memory backend."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay.config import Settings
from relay.gateways.base.join_request import JoinRequest, ObserveRequest
from relay.gateways.native.channel_session import ChannelSession
from relay.model.codec import Frame
from relay.rooms.observer import Sight
from relay.rooms.worker import Worker
from tests.tokens import SECRET, token
from tests.unit.gateways.base.fakes import CODECS, Client, FakeConnection, until, until_members


class Page(Client):
    """A client whose first frame is yet to come."""

    session: ChannelSession

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.connection = FakeConnection()
        self.ticket = worker.admissions.admit("here", "native")
        self.session = ChannelSession(self.connection, worker, CODECS, self.ticket)

    async def enter(self, room: str = "default", peer: str = "", **request: Any) -> "Page":
        await self.session.enter(lambda: JoinRequest(room, peer, **request))
        return self

    async def open(self, channel: str) -> "Page":
        """Open a channel; the relay serves one frame after the other."""
        self.send(open=True, channel=channel)
        await self.present(channel)
        return self

    async def present(self, channel: str) -> bool:
        self.send(checkPresence=True, channel=channel)
        await until(lambda: any("isChannelPresent" in event for event in self.data))
        answer: bool = self.data[-1]["isChannelPresent"]
        del self.connection.events[1:]
        return answer

    @property
    def data(self) -> list[Any]:
        """All that the page got after the welcome of its address."""
        return self.connection.events[1:]


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    async with Worker(Settings(default_room="default", rooms_per_connection=2)) as worker:
        yield worker


async def test_data_reaches_the_others_in_the_channel_without_its_envelope(worker: Worker) -> None:
    ann, ben = [await (await Page(worker).enter()).open("a channel") for _ in range(2)]
    other = await (await Page(worker).enter()).open("other")
    ann.send(channel="a channel", data={"sdp": "x"})
    await until(lambda: ben.data)
    assert ben.data == [{"sdp": "x"}]
    assert ann.data == other.data == []


async def test_a_channel_is_a_room_and_clients_of_other_protocols_are_in_it(worker: Worker) -> None:
    page = await (await Page(worker).enter()).open("a channel")
    native = Client(worker)
    await native.session.enter(lambda: JoinRequest("a%20channel", "native"))
    page.send(channel="a channel", data=[1])
    await until(lambda: len(native.connection.events) > 1)
    heard = native.connection.events[-1]
    assert (heard["channel"], heard["message"]) == ("a channel", [1])
    native.send(channel="a channel", message={"two": 2})
    native.send(three=3)
    await until(lambda: len(page.data) > 1)
    assert page.data == [{"two": 2}, {"three": 3}]


async def test_a_page_leaves_the_room_of_its_address_and_channels_are_below_it(worker: Worker) -> None:
    page = await (await Page(worker).enter("app")).open("c")
    await until_members(worker, "app", {})
    assert [one.held for one in (await worker.roster("app%2Fc")).members] == [False]
    page.session.disconnected(1006, None)
    await until_members(worker, "app%2Fc", {})


async def test_a_presence_check_may_come_first_and_counts_everybody(worker: Worker) -> None:
    asking = await Page(worker).enter()
    assert not await asking.present("c")
    page = await (await Page(worker).enter()).open("c")
    assert await asking.present("c")
    assert await page.present("c")


async def test_the_frames_of_a_page_that_does_not_wait_are_served_in_order(worker: Worker) -> None:
    ben = await (await Page(worker).enter()).open("c")
    ann = Page(worker)
    for message in ({"open": True, "channel": "c"}, {"channel": "c", "data": 1}, {"channel": "c", "data": 2}):
        ann.send(**message)
    await ann.enter()
    await until(lambda: len(ben.data) == 2)
    assert ben.data == [1, 2]


async def test_frames_that_are_refused_are_answered_with_errors(worker: Worker) -> None:
    page = await (await Page(worker).enter()).open("c")
    page.send(open=True, channel="c")
    for message in (
        {"channel": "other", "data": 1},
        {"channel": "c"},
        {"open": True, "channel": ""},
        {"open": True, "channel": "two"},
        {"open": True, "channel": "three"},
    ):
        page.send(**message)
    page.session.received(Frame(b"no JSON"))
    await until(lambda: len(page.data) == 5)
    codes = sorted(error["code"] for error in page.data)
    assert codes == ["bad_command", "bad_json", "bad_room", "not_joined", "too_many_rooms"]
    assert page.connection.reason is None


async def test_after_any_other_first_frame_no_channel_is_opened(worker: Worker) -> None:
    for first in ({"open": True, "channel": "c", "message": 1}, {"type": "ping"}):
        client = await Page(worker).enter()
        client.send(**first)
        assert not client.session.opens_channels
        client.send(open=True, channel="c")
        client.send(type="ping", key="last")
        await until(lambda client=client: client.answers and client.answers[-1] == "pong last")
        assert not client.session.opens_channels
    opened = await (await Page(worker).enter()).open("c")
    assert opened.session.opens_channels


async def test_an_envelope_that_only_looks_like_it_is_relayed(worker: Worker) -> None:
    ben = Client(worker)
    await ben.session.enter(lambda: JoinRequest("default", "ben"))
    ann = await Page(worker).enter()
    ann.send(open=1, channel="c")
    ann.send(open=True, channel="c")
    await until(lambda: len(ben.connection.events) == 3)
    assert [event["open"] for event in ben.connection.events[1:]] == [1, True]


async def test_an_observer_opens_no_channel(worker: Worker) -> None:
    page = Page(worker)
    await page.session.enter(lambda: ObserveRequest("default", Sight.MEMBER))
    page.send(open=True, channel="c")
    page.send(checkPresence=True, channel="c")
    page.send(channel="c", data=1)
    await until(lambda: len(page.data) == 3)
    assert [error["code"] for error in page.data] == ["observing"] * 3
    await until_members(worker, "c", {})


async def test_a_token_must_grant_the_channel() -> None:
    async with Worker(Settings(default_room="default", auth="required", auth_secret=SECRET)) as worker:
        rooms = [{"room": "default", "can": ["join"]}, {"room": "c", "can": ["join", "publish", "presence"]}]
        page = await Page(worker).enter(token=token(rooms=rooms))
        await page.open("c")
        page.send(channel="c", data=1)
        page.send(open=True, channel="d")
        page.send(checkPresence=True, channel="d")
        await until(lambda: len(page.data) == 2)
        assert [error["code"] for error in page.data] == ["not_granted", "not_granted"]


def test_the_sessions_have_no_dictionary() -> None:
    worker = Worker(Settings())
    session = Page(worker).session
    assert not hasattr(session, "__dict__")
