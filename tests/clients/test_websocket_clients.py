"""Plain WebSocket clients in Python, Java, Rust and Go."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.clients.builds import program
from tests.conformance.language_cases import Ground, Library
from tests.conformance.programs import LanguageClient
from tests.conftest import MakeRelay
from tests.fleet import RedisServer

LIBRARIES = [
    Library("websocket-client 1 for Python", program("python", "websocket")),
    Library("Java-WebSocket 1.5", program("java-2.1", "java-websocket")),
    Library("OkHttp 3", program("java-2.1", "okhttp")),
    Library("tungstenite 0.21", program("rust", "websocket")),
    Library("gorilla websocket 1.5", program("go", "websocket")),
]

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The first test of a program builds it.
    pytest.mark.timeout(2400),
    pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name.replace(" ", "-")),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ground(redis_server: RedisServer) -> AsyncIterator[Ground]:
    async with Ground(redis_server.url) as ground:
        yield ground


async def test_envelopes_of_many_sizes_between_two_workers(ground: Ground, library: Library) -> None:
    clients = {peer: LanguageClient(await ground.program(library)) for peer in ("ann", "ben")}
    for worker, (peer, client) in zip(ground.workers, clients.items(), strict=True):
        await client.open(f"{worker.ws}/rooms/sizes-{library.name.replace(' ', '-')}?peer={peer}")
        assert (await client.envelope())["type"] == "welcome"
    # The length of a frame takes one byte, then three from 126 on, then nine from 65,536 on.
    for size in (0, 10, 100, 126, 60_000, 65_536, 300_000, 1_000_000):
        sent = {"sender": 1, "channel": "c", "message": "\u2603 \U0001f600" + "x" * size}
        for sender, receiver in (("ann", "ben"), ("ben", "ann")):
            clients[sender].send(sent)
            heard = await clients[receiver].envelope()
            assert {field: heard[field] for field in sent} == sent
            assert heard["from"] == sender
    for client in clients.values():
        client.disconnect()
        await client.until("disconnect")


async def test_pings_are_answered_and_a_stop_is_a_going_away(
    start: MakeRelay, ground: Ground, library: Library
) -> None:
    relay = await start(ping_interval=0.2, ping_timeout=2, drain_timeout=1)
    ann, ben = [LanguageClient(await ground.program(library)) for _ in range(2)]
    for client in (ann, ben):
        await client.open(f"{relay.ws}/rooms/room?presence=1")
    # Longer than the interval and the timeout together: nothing but pongs comes from Ben.
    for number in range(35):
        ann.send({"message": number})
        await ben.envelope(message=number)
        await asyncio.sleep(0.1)
    await relay.terminate()
    for client in (ann, ben):
        assert (await client.until("disconnect"))["code"] == 1001


async def test_a_client_resumes_on_the_other_worker_after_its_own_was_killed(
    start: MakeRelay, redis_server: RedisServer, ground: Ground, library: Library
) -> None:
    prefix = f"relay:killed{time.time_ns() % 10**9}"
    settings = {"redis_url": redis_server.url, "redis_prefix": prefix, "worker_lease": 1.0, "reconnect_grace": 10.0}
    first, second = await start(**settings), await start(**settings)
    before, ben = [LanguageClient(await ground.program(library)) for _ in range(2)]
    await before.open(f"{first.ws}/rooms/room?peer=ann")
    await ben.open(f"{second.ws}/rooms/room?peer=ben")
    welcome = await before.envelope(type="welcome")
    ben.send({"message": "heard"})
    heard = await before.envelope(message="heard")
    first.process.kill()
    assert (await before.until("disconnect"))["code"] == 1006
    ben.send({"message": "missed"})
    after = await LanguageClient(await ground.program(library)).open(f"{second.ws}/rooms/other?peer=ann")
    after.send({"type": "join", "room": "room", "since": heard["id"], "resume": welcome["resume"]})
    back = await after.envelope(type="welcome", resumed=True)
    assert (back["peer"], back["recovered"]) == ("ann", True)
    await after.envelope(message="missed")
    after.send({"type": "publish", "room": "room", "envelope": {"message": "back"}})
    await ben.envelope(message="back")
