"""The client option `retries` over two workers, while connections are cut between an event and its acknowledgement.

A proxy counts the acknowledgements on each connection, cuts it at one of them, and leads the next connection to the
other worker. Every event must be heard once and in order.
"""

import asyncio
import contextlib
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any, Self

import pytest
import pytest_asyncio

from tests.conformance.sio import POLLING, WEBSOCKET, Node
from tests.fleet import Client, RedisServer, Relay
from tests.tcp import end_server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

EVENTS = 300
_ACK = b'{"id":"'
"""Is in each acknowledgement of a message, on its way to the client."""


class Cutter:
    """A TCP proxy that cuts connections; `cuts` counts them by the way in which it did."""

    def __init__(self, targets: list[int], ways: list[str]) -> None:
        self._targets = targets
        self._ways = ways
        self._random = random.Random(4)
        self._near: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.resting = False
        self.cuts: Counter[str] = Counter()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._light()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await end_server(self._server, self._abort, self._tasks)

    def _abort(self) -> None:
        for near in self._near:
            near.transport.abort()

    def _light(self) -> None:
        """Choose after how many acknowledgements the next cut follows, and how it cuts."""
        self._fuse = self._random.randint(1, 3)
        self._way = self._random.choice(self._ways)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        self._near.add(near)
        with contextlib.suppress(OSError):
            far_reader, far = await asyncio.open_connection("127.0.0.1", self._targets[0])
            ways = [asyncio.create_task(self._up(reader, far)), asyncio.create_task(self._down(far_reader, near))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            far.transport.abort()
        near.transport.abort()
        self._near.discard(near)

    async def _up(self, near: asyncio.StreamReader, far: asyncio.StreamWriter) -> None:
        while data := await near.read(65536):
            far.write(data)
            # A client masks its frames over a WebSocket; most of its writes are events.
            if self._way == "event" and len(data) > 30 and not self.resting and self._random.random() < 0.1:
                await far.drain()
                self._cut()
                return

    async def _down(self, far: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        while data := await far.read(65536):
            if _ACK in data and not self.resting:
                self._fuse -= 1
                if self._fuse <= 0:
                    if self._way == "after":
                        near.write(data)
                        await near.drain()
                    elif self._way == "within":
                        near.write(data[: self._random.randrange(len(data))])
                        await near.drain()
                    self._cut()
                    return
            near.write(data)

    def _cut(self) -> None:
        self.cuts[self._way] += 1
        self._targets.reverse()
        self._light()


class Holder(Cutter):
    """Holds the first acknowledgement until the client has sent once more: the two cross. It cuts nothing."""

    def __init__(self, target: int) -> None:
        super().__init__([target], ["never"])
        self._sent = asyncio.Event()
        self.held = 0

    async def _up(self, near: asyncio.StreamReader, far: asyncio.StreamWriter) -> None:
        while data := await near.read(65536):
            far.write(data)
            await far.drain()
            self._sent.set()

    async def _down(self, far: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        while data := await far.read(65536):
            if _ACK in data and not self.held:
                self.held += 1
                self._sent.clear()
                await self._sent.wait()
            near.write(data)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers(redis_server: RedisServer) -> AsyncIterator[tuple[Relay, Relay]]:
    relays = [Relay(redis_url=redis_server.url, redis_prefix="relay:retries", reconnect_grace=30) for _ in range(2)]
    yield await relays[0].ready(), await relays[1].ready()
    for relay in relays:
        relay.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Node]:
    node = await Node.start()
    yield node
    await node.close()


async def hear(client: Client, count: int) -> list[Any]:
    """Return the arguments of so many events of the client with retries."""
    heard: list[Any] = []
    while len(heard) < count:
        event = await client.next(60)
        if event.get("event") in {"n", "same"}:
            heard.append(event["args"])
    return heard


async def disturb(client: Client) -> None:
    """Send to the room all the time, so that the client with retries gets events before its acknowledgements.

    The client also reads: one that reads nothing answers no pings, and is closed after a while.
    """
    async with asyncio.TaskGroup() as group:
        group.create_task(read(client))
        group.create_task(send(client))


async def read(client: Client) -> None:
    """Read and drop all events."""
    while True:
        await client.next(3600)


async def send(client: Client) -> None:
    """Send an event every 20 ms: half of the rate that a client has."""
    number = 0
    while True:
        await client.send({"event": "other", "args": [number]})
        number += 1
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("event", ["n", "same"])
@pytest.mark.parametrize("options", [WEBSOCKET, POLLING], ids=["websocket", "polling"])
async def test_events_that_are_emitted_again_are_heard_once_and_in_order(
    workers: tuple[Relay, Relay], node: Node, event: str, options: dict[str, Any]
) -> None:
    room, ports = (
        f"retries-{event}-{options['transports'][0]}",
        [relay.port for relay in workers],
    )
    listeners = [await Client.open(f"{relay.ws}/rooms/{room}") for relay in workers]
    other = await Client.open(f"{workers[0].ws}/rooms/{room}")
    # Of equal events, the relay cannot count those of which the acknowledgement arrives without the offset behind it.
    ways = ["before", "after", "event"] + ["within"] * (event == "n")
    async with Cutter(ports, ways) as cutter:
        patience = {"reconnectionDelay": 1, "reconnectionDelayMax": 20, "retries": 1000, "ackTimeout": 3000}
        ann = await node.open("4", f"http://127.0.0.1:{cutter.port}/rooms/{room}", **options, **patience)
        disturbing = asyncio.create_task(disturb(other))
        heard = asyncio.gather(*[hear(listener, EVENTS) for listener in listeners])
        acknowledged = 0
        for number in range(EVENTS):
            ann_emits(node, ann.name, event, number)
        while acknowledged < EVENTS:
            happened = await node.next(ann.name)
            if happened["what"] == "ack":
                error, answer = happened["answer"]
                assert error is None
                assert "id" in answer
                acknowledged += 1
        cutter.resting = True
        disturbing.cancel()
        await other.send({"event": event, "args": ["last"]})
        for found, listener in zip(await heard, listeners, strict=True):
            expected = [[number] if event == "n" else [] for number in range(EVENTS)]
            assert found == expected
            assert await hear(listener, 1) == [["last"]], "an event was heard twice"
        assert cutter.cuts.total() >= EVENTS // 4, cutter.cuts
        ann.do("disconnect")
    for listener in (*listeners, other):
        await listener.close()


def ann_emits(node: Node, name: str, event: str, number: int) -> None:
    node.send({"do": "emit", "client": name, "args": [event] + [number] * (event == "n"), "ack": number + 1})


async def test_events_that_are_emitted_again_while_redis_stands_still_are_heard_once(node: Node) -> None:
    redis, stalls = RedisServer().start(), 8
    settings = {"redis_url": redis.url, "publish_timeout": 1.0, "worker_lease": 30.0}
    with closing(redis), closing(Relay(**settings)) as relay:
        await relay.ready()
        listener = await Client.open(f"{relay.ws}/rooms/still")
        options = {**WEBSOCKET, "retries": 1000, "ackTimeout": 400}
        ann = await node.open("4", f"{relay.http}/rooms/still", **options)
        for number in range(stalls):
            # Shorter and longer than the client waits for an acknowledgement, and than the worker waits for Redis.
            redis.signal(signal.SIGSTOP)
            for part in range(5):
                ann_emits(node, ann.name, "n", 5 * number + part)
            await asyncio.sleep((0.2, 0.6, 0.9, 1.5)[number % 4])
            redis.signal(signal.SIGCONT)
            acknowledged = 0
            while acknowledged < 5:
                acknowledged += (await node.next(ann.name))["what"] == "ack"
        echo = await Client.open(f"{relay.ws}/rooms/still")
        await echo.send({"event": "n", "args": ["last"]})
        assert await hear(listener, 5 * stalls + 1) == [[number] for number in range(5 * stalls)] + [["last"]]
        ann.do("disconnect")
        await listener.close()
        await echo.close()


@pytest.mark.parametrize("options", [WEBSOCKET, POLLING], ids=["websocket", "polling"])
async def test_an_event_that_crosses_with_its_late_acknowledgement_is_heard_once(
    node: Node, options: dict[str, Any]
) -> None:
    redis = RedisServer().start()
    with closing(redis), closing(Relay(redis_url=redis.url, worker_lease=30.0)) as relay:
        await relay.ready()
        listener = await Client.open(f"{relay.ws}/rooms/cross")
        async with Holder(relay.port) as holder:
            patience = {"retries": 1000, "ackTimeout": 600}
            ann = await node.open("4", f"http://127.0.0.1:{holder.port}/rooms/cross", **options, **patience)
            redis.signal(signal.SIGSTOP)
            ann_emits(node, ann.name, "n", 0)
            # Long enough for a late acknowledgement, and shorter than the client waits for it.
            await asyncio.sleep(0.3)
            redis.signal(signal.SIGCONT)
            while (await node.next(ann.name))["what"] != "ack":
                pass
            assert holder.held == 1
            ann_emits(node, ann.name, "n", 1)
            assert await hear(listener, 2) == [[0], [1]]
            ann.do("disconnect")
        await listener.close()
