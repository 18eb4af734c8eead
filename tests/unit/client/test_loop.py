"""Connecting and reconnecting."""

import asyncio
import functools

import pytest
from websockets.asyncio.server import ServerConnection

from relay.client.errors import Closed
from relay.client.events import Event, Interrupted
from relay.client.loop import ConnectionLoop
from relay.client.options import Options, RoomRequest
from relay.client.outbox import Outbox
from relay.client.own_info import OwnInfo
from relay.client.position import RoomPosition
from tests.unit.client.script import Script, send, silent, welcome


class Looping:
    """A loop whose delays are as short as they may be."""

    def __init__(self, *urls: str) -> None:
        self.events: list[Event] = []
        options = Options(draw=lambda: 0.0, close_timeout=0.2)
        self.loop = ConnectionLoop(
            urls, RoomRequest("r"), options, RoomPosition(), Outbox(size=9, window=9), OwnInfo(), deliver=self.deliver
        )

    async def deliver(self, event: Event) -> None:
        self.events.append(event)


async def drop(socket: ServerConnection) -> None:
    await welcome(socket, recovered=True)
    socket.transport.abort()


async def replace(socket: ServerConnection) -> None:
    await welcome(socket, recovered=True)
    await socket.close(4500)


async def test_it_reconnects_until_a_final_close_and_tries_each_url_in_turn(script: Script) -> None:
    script.parts = [drop, drop, replace]
    looping = Looping(script.url + "/a", script.url + "/b")
    closed = await looping.loop.run()
    assert isinstance(closed, Closed)
    assert closed.code == looping.loop.last_end.code == "replaced"
    assert looping.events == [Interrupted("lost", "the connection was lost")] * 2
    assert (looping.loop.reconnects, looping.loop.connected, looping.loop.joined.is_set()) == (2, False, True)
    assert [path.split("/")[1] for path in script.paths] == ["a", "b", "a"]


async def test_a_failed_attempt_is_no_interruption(script: Script) -> None:
    script.refusals = [(503, {}, b"")]
    script.parts = [replace]
    looping = Looping(script.url)
    assert await looping.loop.run() is not None
    assert looping.events == []


async def test_a_closed_loop_ends_without_a_reason(script: Script) -> None:
    script.parts = [silent]
    looping = Looping(script.url)
    running = asyncio.create_task(looping.loop.run())
    await looping.loop.joined.wait()
    assert looping.loop.connected
    await looping.loop.close()
    assert await running is None


@pytest.mark.parametrize("act", ["wake", "drop"])
async def test_acting_before_the_first_connection_does_nothing(act: str) -> None:
    getattr(Looping("ws://localhost").loop, act)()


async def test_dropping_makes_a_new_connection(script: Script) -> None:
    script.parts = [silent, replace]
    looping = Looping(script.url)
    running = asyncio.create_task(looping.loop.run())
    await looping.loop.joined.wait()
    looping.loop.drop()
    assert await running is not None
    assert looping.loop.reconnects == 1


async def refuse(socket: ServerConnection, **detail: bool) -> None:
    await send(socket, type="error", about="join", code="peer_taken", text="in use", **detail)
    await socket.close(4501)


async def test_a_peer_id_of_a_held_member_is_waited_for(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.client.loop._GOODBYE_TIME", 1e-9)
    held = functools.partial(refuse, held=True)
    script.parts = [held, held, held, held, silent]
    looping = Looping(script.url)
    running = asyncio.create_task(looping.loop.run())
    await looping.loop.joined.wait()
    assert len(script.requests) == 5
    assert looping.events == []
    await looping.loop.close()
    assert await running is None


async def test_a_peer_id_of_a_connected_member_is_refused_for_good_after_a_short_time(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.client.loop._GOODBYE_TIME", 0.2)
    script.parts = [refuse] * 10_000
    looping = Looping(script.url)
    started = asyncio.get_running_loop().time()
    closed = await looping.loop.run()
    assert isinstance(closed, Closed)
    assert closed.code == "peer_taken"
    assert asyncio.get_running_loop().time() - started >= 0.2
    assert len(script.requests) > 1
