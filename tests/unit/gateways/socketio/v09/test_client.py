"""Clients of version 0.9: the packets that they may send and when."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from relay.model.codec import Frame
from relay.model.errors import BAD_PACKET, GOING_AWAY
from relay.rooms.connection import Receiver
from tests.unit.gateways.socketio.clients import FakeWire, Site, site

WEBSOCKET = "/socket.io/1/websocket/" + "x" * 22


class Client:
    """A client on a WebSocket; `next` gives the packets that it gets."""

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


@asynccontextmanager
async def clients(**settings: object) -> AsyncIterator[Site]:
    async with site(**settings) as one:
        yield one


async def entered(one: Site, query: str = "") -> Client:
    client = Client(*await one.socket(WEBSOCKET + query))
    assert await client.next() == "1::"
    return client


async def test_a_client_is_in_the_first_namespace_and_in_the_room_of_its_query() -> None:
    async with clients() as one:
        ann, ben = await entered(one, "?room=a"), await entered(one)
        ben.say("1::/rooms/a")
        assert await ben.next() == "1::/rooms/a"
        ann.say("3:::text", '4:::{"n":1}', '5:::{"name":"offer","args":[1]}')
        assert await ben.next() == '5::/rooms/a:{"name":"message","args":["text"]}'
        assert await ben.next() == '5::/rooms/a:{"name":"message","args":[{"n":1}]}'
        assert await ben.next() == '5::/rooms/a:{"name":"offer","args":[1]}'


async def test_a_second_connect_packet_is_bad_but_for_the_first_namespace() -> None:
    async with clients() as one:
        client = await entered(one)
        client.say("1::", "1::/rooms/a")
        assert await client.next() == "1::/rooms/a"
        client.say("1::/rooms/a")
        assert client.wire.closed == BAD_PACKET.code


async def test_a_disconnect_packet_ends_one_namespace_and_another_is_ignored() -> None:
    async with clients() as one:
        client = await entered(one)
        client.say("1::/rooms/a")
        assert await client.next() == "1::/rooms/a"
        client.say("0::/rooms/a", "0::/rooms/a", "6:::1", '5:1+::{"name":"a"}')
        assert (await client.next()).startswith('6:::1+[{"id":')
        assert (await one.worker.list_rooms()).rooms == [("default", 1)]


@pytest.mark.parametrize("packet", ["3::/rooms/a:x", "7::", '5::/rooms/a:{"name":"a"}', "nonsense"])
async def test_other_packets_close_the_connection(packet: str) -> None:
    async with clients() as one:
        client = await entered(one)
        client.say(packet)
        assert client.wire.closed == BAD_PACKET.code


def nested(levels: int) -> str:
    return '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


def offer(levels: int, number: str = "") -> str:
    return f'5:{number}::{{"name":"offer","args":[{nested(levels)}]}}'


async def test_a_packet_that_nests_too_deep_is_answered_and_the_connection_goes_on() -> None:
    async with clients() as one:
        ann, ben = await entered(one), await entered(one)
        for levels in (255, 5000):
            ann.say(offer(levels, number="7+"))
            answer = await ann.next()
            assert json.loads(answer.removeprefix("6:::7+"))[0]["error"]["code"] == "bad_json"
        ann.say(f"4:::{nested(5000)}")
        assert '"bad_json"' in await ann.next()
        ann.say(f"4:::{nested(256)}", offer(254))
        assert await ben.next() == f'5:::{{"name":"message","args":[{nested(256)}]}}'
        assert await ben.next() == f'5:::{{"name":"offer","args":[{nested(254)}]}}'


async def test_a_worker_that_stops_closes_the_connection() -> None:
    async with clients() as one:
        client = await entered(one)
        one.worker.clients.close_all(GOING_AWAY)
        await client.wire.until(lambda: client.wire.closed)
        assert client.wire.closed == GOING_AWAY.code
