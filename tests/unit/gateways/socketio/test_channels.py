"""Channels of socketio-over-nodejs: pages of version 0.9 open namespaces, and those of later ones ask too early."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from relay.gateways.socketio.channels import ClientChannels, read_new_channel, room_of_channel
from relay.gateways.socketio.parser import IncomingEvent
from relay.model.codec import Frame
from relay.model.errors import Refused
from relay.rooms.connection import Receiver
from tests.unit.gateways.socketio.clients import FakeWire, Site, site

V09 = "/socket.io/1/websocket/" + "x" * 22
V2 = "/socket.io/?EIO=3&transport=websocket"


class Page:
    """A page on a WebSocket; `next` gives the packets that it gets."""

    def __init__(self, wire: FakeWire, receiver: Receiver) -> None:
        self.wire = wire
        self.receiver = receiver
        self._read = 0

    def say(self, *packets: str) -> None:
        for one in packets:
            self.receiver.received(Frame(one.encode()))

    async def next(self) -> str:
        await self.wire.until(lambda: len(self.wire.texts) > self._read)
        self._read += 1
        return self.wire.texts[self._read - 1]

    def emit(self, name: str, argument: Any, namespace: str = "") -> None:
        self.say(f"5::{namespace}:{json.dumps({'name': name, 'args': [argument]})}")

    def send(self, data: Any, channel: str = "c") -> None:
        self.emit("message", {"sender": 7, "data": data}, f"/{channel}")

    async def heard(self, channel: str = "c") -> tuple[str, list[Any]]:
        event = json.loads((await self.next()).removeprefix(f"5::/{channel}:"))
        return event["name"], event["args"]


async def page(one: Site, channel: str = "c") -> Page:
    """Open a channel as the demos do: both packets leave together."""
    page = Page(*await one.socket(V09))
    page.emit("new-channel", {"channel": channel, "sender": 7})
    page.say(f"1::/{channel}")
    assert {await page.next(), await page.next()} == {"1::", f"1::/{channel}"}
    return page


@asynccontextmanager
async def pages(**settings: Any) -> AsyncIterator[tuple[Site, Page, Page]]:
    async with site(default_room="default", **settings) as one:
        yield one, await page(one), await page(one)


async def until_members(one: Site, room: str, count: int) -> None:
    async with asyncio.timeout(5):
        while (await one.worker.roster(room, 0)).count != count:
            await asyncio.sleep(0)


async def test_data_reaches_the_others_in_the_namespace_alone() -> None:
    async with pages() as (one, ann, ben):
        other = await page(one, "other")
        ann.send({"sdp": "x"})
        ann.send([2])
        assert [await ben.heard(), await ben.heard()] == [("message", [{"sdp": "x"}]), ("message", [[2]])]
        ben.send("back")
        assert await ann.heard() == ("message", ["back"])
        other.emit("presence", "c")
        assert json.loads((await other.next())[4:]) == {"name": "presence", "args": [True]}
        other.emit("presence", "nobody's")
        assert json.loads((await other.next())[4:]) == {"name": "presence", "args": [False]}


async def test_the_others_are_told_of_a_user_who_left_or_was_lost() -> None:
    async with pages() as (one, ann, ben):
        ann.send({"sender": "ann"})
        ann.send({"sender": "another name"})
        assert [await ben.heard(), await ben.heard()]
        ann.receiver.disconnected(1006, None)
        assert await ben.heard() == ("user-left", ["ann"])
        await until_members(one, "c", 1)
        carl = await page(one)
        carl.send({"sender": "carl"})
        assert await ben.heard() == ("message", [{"sender": "carl"}])
        carl.say("0::/c")
        assert await ben.heard() == ("user-left", ["carl"])
        silent = await page(one)
        silent.say("0::/c")
        await until_members(one, "c", 1)
        ben.emit("presence", "c")
        assert '"presence"' in await ben.next()


async def test_a_connection_that_has_opened_one_channel_may_enter_any() -> None:
    async with pages() as (one, ann, _):
        ann.say("1::/private")
        assert await ann.next() == "1::/private"
        await until_members(one, "private", 1)


async def test_a_page_that_comes_back_finds_a_channel_that_is_in_use() -> None:
    async with pages() as (one, ann, _):
        back = Page(*await one.socket(V09))
        assert await back.next() == "1::"
        back.say("1::/c")
        assert await back.next() == "1::/c"
        ann.send(1)
        assert await back.heard() == ("message", [1])
        back.say("1::/d")
        assert await back.next() == "7::/d:2"


async def test_a_client_that_asks_for_the_namespace_first_enters_when_it_opens_the_channel() -> None:
    async with site() as one:
        client = Page(*await one.socket(V2))
        packets = [await client.next(), await client.next()]
        assert packets[1] == "40"
        client.say("40/c,", "40/d,")
        assert sorted([await client.next(), await client.next()]) == [
            '44/c,"Invalid namespace"',
            '44/d,"Invalid namespace"',
        ]
        client.say('42["new-channel",{"channel":"c","sender":7}]')
        assert await client.next() == "40/c,"
        other = await page(one)
        other.send({"n": 1})
        assert await client.next() == '42/c,["message",{"n": 1}]'


async def test_an_event_that_only_has_the_name_is_relayed() -> None:
    async with site() as one:
        ann, ben = Page(*await one.socket(V09)), Page(*await one.socket(V09))
        assert [await ann.next(), await ben.next()] == ["1::", "1::"]
        for argument in ("c", {"channel": "c"}, {"channel": "c", "sender": 1, "more": 2}, {"channel": [], "sender": 1}):
            ann.emit("new-channel", argument)
            assert json.loads((await ben.next())[4:]) == {"name": "new-channel", "args": [argument]}
        ann.say("1::/c")
        assert await ann.next() == "7::/c:2"


async def test_bad_packets_of_a_page_are_answered_and_disturb_nobody() -> None:
    async with pages(max_message=1024, send_buffer=65536) as (_, ann, ben):
        ann.emit("new-channel", {"channel": "", "sender": 7})
        ann.say("1::/" + "x" * 300)
        assert (await ann.next()).startswith("7::/xxx")
        ann.send("x" * 2000)
        name, [error] = await ann.heard()
        assert (name, error["code"]) == ("error", "too_large")
        ann.send("small")
        assert await ben.heard() == ("message", ["small"])


def test_the_room_of_a_channel_is_that_of_its_name() -> None:
    assert room_of_channel("/a%20b") == room_of_channel("/a b") == "a%20b"
    with pytest.raises(Refused, match="bad_namespace"):
        room_of_channel("/" + "x" * 300)


@pytest.mark.parametrize(
    ("data", "room"),
    [
        (b'{"channel":"a b","sender":1}', "a%20b"),
        (b'{"sender":null,"channel":7}', "7"),
        (b'{"channel":"","sender":1}', ""),
        (b'{"channel":"c"}', None),
        (b'"c"', None),
    ],
)
def test_the_event_that_opens_a_channel(data: bytes, room: str | None) -> None:
    assert read_new_channel(IncomingEvent("new-channel", [data])) == room
    assert read_new_channel(IncomingEvent("message", [data])) is None


async def test_a_client_enters_a_channel_that_another_connection_opens_later() -> None:
    """Clients of version 1 and 2 enter all channels on their first connection, and open each on a new one."""
    async with site() as one:
        first, second = Page(*await one.socket(V2)), Page(*await one.socket(V2))
        assert {(await client.next())[0] for client in (first, second)} == {"0"}
        assert [await first.next(), await second.next()] == ["40", "40"]
        first.say("40/c,", "40/d,")
        assert {await first.next(), await first.next()} == {'44/c,"Invalid namespace"', '44/d,"Invalid namespace"'}
        second.say('42["new-channel",{"channel":"c","sender":7}]')
        assert await first.next() == "40/c,"
        await until_members(one, "c", 1)
        # Nobody is in the channel of this connection, and all of the worker know that it is open.
        third = Page(*await one.socket(V2))
        second.say('42["new-channel",{"channel":"e","sender":7}]', '42["presence","e"]')
        assert await second.next() == '42["presence",false]'
        assert [(await third.next())[0], await third.next()] == ["0", "40"]
        third.say("40/e,")
        assert await third.next() == "40/e,"


async def test_a_client_that_asks_again_while_it_waits_enters_once() -> None:
    async with site() as one:
        first, second = Page(*await one.socket(V2)), Page(*await one.socket(V2))
        assert [(await first.next())[0], await first.next()] == ["0", "40"]
        first.say("40/c,")
        assert await first.next() == '44/c,"Invalid namespace"'
        first.say("40/c,")
        assert await first.next() == '44/c,"Invalid namespace"'
        second.say('42["new-channel",{"channel":"c","sender":7}]')
        assert await first.next() == "40/c,"
        first.say('42["presence","c"]')
        assert await first.next() == '42["presence",true]'


async def test_refused_namespaces_are_remembered_up_to_a_bound() -> None:
    async with site() as one:
        entered: list[str] = []
        ticket = one.worker.admissions.admit("here", "socketio")
        channels = ClientChannels(one.worker, ticket, lambda name, _: entered.append(name))
        for number in range(20):
            read = await channels.request(f"/{number}", str(number), lambda room: pytest.fail(room))
            with pytest.raises(Refused, match="bad_namespace"):
                read()
        channels.open("9")
        assert entered == []
        for number in range(20):
            channels = ClientChannels(one.worker, ticket, lambda name, _: entered.append(name))
            await channels.request(f"/{number}x", f"{number}x", lambda room: pytest.fail(room))
            channels.end()
            channels.open(f"{number}x")
        assert entered == []
        channels = ClientChannels(one.worker, ticket, lambda name, _: entered.append(name))
        await channels.request("/7y", "7y", lambda room: pytest.fail(room))
        channels.open("7y")
        assert entered == ["/7y"]


async def test_channels_that_pages_open_count_for_their_address() -> None:
    async with site(new_rooms_per_address=3) as one:
        ticket = one.worker.admissions.admit("here", "socketio")
        for number in range(5):
            # A page of its own for each: the limit is that of the address.
            ClientChannels(one.worker, ticket, lambda name, _: pytest.fail(name)).open(f"c{number}")
        opened = [await one.worker.detect("\0new-channel", f"c{number}", rooms=False) for number in range(5)]
        assert opened == [True, True, True, False, False]
        client = Page(*await one.socket(V2))
        assert [(await client.next())[0], await client.next()] == ["0", "40"]
        client.say('42["new-channel",{"channel":"own","sender":7}]', "40/own,")
        assert await client.next() == "40/own,"
