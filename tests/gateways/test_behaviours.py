"""Each behaviour, for clients of every gateway, on two workers over Redis.

Every test asserts the behaviour from the side of a second client of the same kind, and of a native witness. If a
protocol lacks a capability, the test asserts the consequence.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from relay.gateways import GATEWAYS
from tests.fleet import Json, RedisServer, Relay
from tests.gateways.driver import BAD_FRAME, Heard, Refused
from tests.gateways.rows import ROWS, Row
from tests.gateways.scene import Scene, is_closed

BURST = 10
SETTINGS: dict[str, Any] = {
    "redis_prefix": "relay:behaviours",
    "max_message": 1024,
    "message_rate": 1,
    "message_delay": 0,
    # A lost client whose leave is seen within a test was not held.
    "reconnect_grace": 60.0,
    # Nothing else shows that a client over BOSH is lost.
    "bosh_inactivity": 3.0,
}
_rooms = (f"room {number}/é" for number in itertools.count())

StartVictim = Callable[[], Awaitable[Relay]]


@pytest.fixture(scope="module")
def couple(redis_server: RedisServer) -> Iterator[tuple[Relay, Relay]]:
    """Two workers, which no test stops."""
    relays = [Relay(redis_url=redis_server.url, **SETTINGS) for _ in range(2)]
    for relay in relays:
        asyncio.run(relay.ready())
    yield relays[0], relays[1]
    for relay in relays:
        relay.close()


@pytest.fixture
async def start_victim(redis_server: RedisServer) -> AsyncIterator[StartVictim]:
    """Starts one more worker beside the couple, which a test may stop."""
    relays: list[Relay] = []

    async def start_victim() -> Relay:
        relays.append(Relay(redis_url=redis_server.url, **SETTINGS))
        return await relays[-1].ready()

    yield start_victim
    for relay in relays:
        relay.close()


def parameter(row: Row) -> ParameterSet:
    return pytest.param(row, id=row.name, marks=[] if row.quick else pytest.mark.gateways)


@pytest.fixture(params=map(parameter, ROWS))
async def scene(request: pytest.FixtureRequest, couple: tuple[Relay, Relay]) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        scene = Scene(request.param, *couple, next(_rooms), stack)
        await scene.begin()
        yield scene


def test_every_protocol_of_every_gateway_has_a_row() -> None:
    protocols = {protocol for gateway in GATEWAYS.values() for protocol in gateway.protocols}
    assert {row.protocol for row in ROWS} == protocols


async def test_join(scene: Scene) -> None:
    """All members with presence see each join, and the member list has each client once."""
    ann, ben = await scene.join(scene.here), await scene.join(scene.there)
    assert set(await scene.members()) == {scene.witness_peer, ann.peer, ben.peer}
    # Clients without presence get nothing of it.
    await scene.witness.send("next")
    for player in (ann, ben):
        await player.hears("next")


async def test_hear(scene: Scene) -> None:
    """A message reaches all other members, of every protocol, and not its sender."""
    ann, ben = await scene.join(scene.here), await scene.join(scene.there)
    data: Json = {"sdp": "v=0\r\no=-", "snow": "é ☃ \U0001f600", "deep": [[[{}]], None, 1.5, False]}
    await ann.driver.send(data)
    await ben.hears(data)
    await scene.hears(data, sender=ann)
    await ben.driver.send("answer")
    await ann.hears("answer")
    await scene.hears("answer", sender=ben)
    await scene.witness.send("to both")
    for player in (ann, ben):
        await player.hears("to both")


async def test_direct(scene: Scene) -> None:
    """A message to one member reaches it alone. Without a receiver in the protocol, it reaches the room."""
    ann, ben = await scene.join(scene.here), await scene.join(scene.there)
    await scene.witness.send("for ann", to=ann.peer)
    await scene.witness.send("for all")
    await ann.hears("for ann", "for all")
    await ben.hears("for all")
    await ann.driver.send("for the witness", to=scene.witness_peer)
    await ann.driver.send("for all")
    await scene.hears("for the witness", "for all", sender=ann)
    await ben.hears(*([] if scene.can.direct else ["for the witness"]), "for all")


async def test_leave(scene: Scene) -> None:
    """A client that says goodbye leaves at once."""
    ann, ben = await scene.join(scene.here), await scene.join(scene.there)
    await ann.driver.close()
    await scene.sees_departure(ann)
    assert set(await scene.members()) == {scene.witness_peer, ben.peer}


async def test_lost(scene: Scene) -> None:
    """A lost client is held, if its protocol has a way to come back; any other leaves at once."""
    ann, ben = await scene.join(scene.here), await scene.join(scene.there)
    await ann.driver.drop()
    await scene.sees_end(ann)
    # No leave of a held member was published before this message.
    await ben.driver.send("still here")
    await scene.hears("still here", sender=ben)


async def test_resume(scene: Scene) -> None:
    """A client that comes back to any worker gets all that it missed, in order; others see no change."""
    ann, ben = await scene.join(scene.here), await scene.join(scene.there)
    await scene.witness.send("before")
    await ann.hears("before")
    await ben.hears("before")
    await ann.driver.drop()
    await scene.sees_end(ann)
    for number in range(3):
        await scene.witness.send(number)
    await ben.hears(0, 1, 2)
    back = await scene.come_back(ann, scene.there)
    assert (back.peer == ann.peer) is scene.can.resume
    await scene.witness.send("now")
    await back.hears(*([0, 1, 2] if scene.can.resume else []), "now")
    await back.driver.send("I am back")
    await scene.hears("I am back", sender=back)
    await ben.hears("now", "I am back")


async def test_too_large(scene: Scene) -> None:
    """A message above the limit is refused, and its sender may go on."""
    ann, ben = await scene.join(scene.here), await scene.join(scene.there)
    await ann.driver.send("x" * 1024)
    assert await ann.driver.next() == Refused("too_large")
    await ann.driver.send("small")
    await ben.hears("small")
    await scene.hears("small", sender=ann)


async def test_too_fast(scene: Scene) -> None:
    """Messages above the rate are refused; the sender keeps its connection, and gets messages of others."""
    ann, ben = await scene.join(scene.here), await scene.join(scene.there)
    for number in range(BURST + 20):
        await ann.driver.send(number)
    # If a client enters a room by a frame of its own, that counts as four; and its ping.
    await scene.hears(*range(BURST - 5), sender=ann)
    assert await ann.driver.next() == Refused("too_fast")
    await ben.driver.send("slowly")
    while (event := await ann.driver.next()) == Refused("too_fast"):
        pass
    assert isinstance(event, Heard)
    assert event.data == "slowly"


async def test_bad_frame(scene: Scene) -> None:
    """A frame that cannot be read gets an error, or ends the connection where the protocol's own servers do that."""
    ann, ben = await scene.join(scene.here), await scene.join(scene.there)
    await ann.driver.send(BAD_FRAME)
    if scene.can.survives_bad_frame:
        assert await ann.driver.next() == Refused("bad_json")
        await ann.driver.send("good")
        await ben.hears("good")
        await scene.hears("good", sender=ann)
    else:
        await is_closed(ann)
        await scene.sees_end(ann)


async def test_drain(scene: Scene, start_victim: StartVictim) -> None:
    """A worker that stops closes its clients; each comes back to another worker, and gets the missed events."""
    victim = await start_victim()
    ann, ben = await scene.join(victim), await scene.join(scene.there)
    stopped = asyncio.create_task(victim.terminate())
    await is_closed(ann)
    assert await stopped == 0
    await scene.sees_end(ann)
    await ben.driver.send("missed")
    await scene.hears("missed", sender=ben)
    back = await scene.come_back(ann, scene.here)
    await ben.driver.send("now")
    await back.hears(*(["missed"] if scene.can.resume else []), "now")


async def test_member_info(scene: Scene) -> None:
    """A client's presence entry has its member info, also after a resume; clients of other protocols have none."""
    ann = await scene.join(scene.there)
    info = {} if scene.can.info is None else {"info": scene.can.info}
    assert (await scene.members())[ann.peer] == {"peer": ann.peer} | info
    await ann.driver.drop()
    await scene.sees_end(ann)
    ann = await scene.come_back(ann, scene.here)
    assert (await scene.members())[ann.peer] == {"peer": ann.peer} | info


async def test_counted(scene: Scene) -> None:
    """Connections and refusals are counted by protocol."""
    handshakes = partial(scene.there.metric, "relay_handshakes_total", protocol=scene.row.protocol)
    errors = partial(scene.there.metric, "relay_errors_total", protocol=scene.row.protocol, code="too_large")
    before = await handshakes(), await errors()
    ann = await scene.join(scene.there)
    await ann.driver.send("x" * 1024)
    assert await ann.driver.next() == Refused("too_large")
    assert (await handshakes(), await errors()) == (before[0] + 1, before[1] + 1)


async def test_two_workers(scene: Scene) -> None:
    """Clients of all kinds, on both workers, get all messages in one order."""
    players = [await scene.join(relay) for relay in (scene.here, scene.there, scene.there)]
    listener = players.pop()

    async def talk(number: int) -> None:
        for part in range(5):
            await players[number].driver.send([number, part])

    await asyncio.gather(talk(0), talk(1))
    heard = []
    for _ in range(10):
        event = await scene.witness.next()
        assert isinstance(event, Heard)
        heard.append(event.data)
    assert sorted(heard) == [[number, part] for number in range(2) for part in range(5)]
    await listener.hears(*heard)


async def test_worker_killed(scene: Scene, start_victim: StartVictim) -> None:
    """The members of a killed worker are held, in every protocol; one that can resume misses nothing."""
    victim = await start_victim()
    ann, ben = await scene.join(victim), await scene.join(scene.there)
    victim.process.kill()
    await is_closed(ann)
    await ben.driver.send("missed")
    await scene.hears("missed", sender=ben)
    if not scene.can.resume:
        await scene.sees_hold(ann)
    back = await scene.come_back(ann, scene.here)
    await ben.driver.send("now")
    await back.hears(*(["missed"] if scene.can.resume else []), "now")
    await back.driver.send("I am back")
    await ben.hears("I am back")
    await scene.hears("now", sender=ben)
    await scene.hears("I am back", sender=back)
