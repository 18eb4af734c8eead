"""Socket.IO clients in other languages."""

import base64
import signal
from typing import Any

import pytest

from tests.clients.conftest import OpenDriven
from tests.clients.driver import SOCKET_IO, Library
from tests.conftest import MakeRelay
from tests.fleet import Client, RedisServer, Relay, eventually
from tests.ports import free_port

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The first test of a program builds it.
    pytest.mark.timeout(1200),
    pytest.mark.parametrize(
        ("library", "transport"),
        [(library, transport) for library in SOCKET_IO for transport in library.transports],
        ids=lambda value: getattr(value, "name", value),
    ),
]

ENVELOPE = {
    "sender": "31337",
    "channel": "c",
    "message": {"sdp": "v=0\r\no=-", "snow": "é ☃ \U0001f600", "deep": [[{}]]},
}


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    return f"room-{abs(hash(request.node.name))}"


async def until_joined(relay: Relay, room: str, members: int) -> None:
    """Wait for members: some libraries report that they are connected before they are in the namespace."""

    async def joined() -> bool:
        return bool((await relay.get(f"/rooms/{room}")).json()["count"] == members)

    await eventually(joined)


async def test_a_handler_of_one_argument_hears_a_native_client_on_the_other_worker_and_answers(
    workers: tuple[Relay, Relay], drive: OpenDriven, room: str, library: Library, transport: str
) -> None:
    client = await drive(library, transport, f"{workers[0].http}?room={room}")
    native = await Client.open(f"{workers[1].ws}/rooms/{room}")
    await until_joined(workers[1], room, 2)
    await native.send(ENVELOPE)
    # One argument and no more: many of these handlers take exactly one.
    assert await client.until("heard") == [ENVELOPE]
    client.tell(emit=[ENVELOPE])
    (*_, heard) = await native.until(lambda event: "type" not in event)
    assert {name: heard[name] for name in ENVELOPE} == ENVELOPE
    await native.close()


async def test_binary_data_and_acknowledgements(
    workers: tuple[Relay, Relay], drive: OpenDriven, room: str, library: Library, transport: str
) -> None:
    data: list[Any] = [{"base64": base64.b64encode(bytes(range(256)) * 10).decode()}]
    ann = await drive(library, transport, f"{workers[0].http}?room={room}")
    ben = await drive(library, transport, f"{workers[1].http}?room={room}")
    await until_joined(workers[1], room, 2)
    ann.tell(emit=data)
    assert await ben.until("heard") == data
    ben.tell(ask=[{"sender": 1, "message": "asked"}])
    assert await ben.until("acknowledged")
    assert await ann.until("heard") == [{"sender": 1, "message": "asked"}]


async def test_a_client_connects_again_after_its_worker_was_killed(
    start: MakeRelay,
    redis_server: RedisServer,
    drive: OpenDriven,
    workers: tuple[Relay, Relay],
    room: str,
    library: Library,
    transport: str,
) -> None:
    port = free_port()
    common = {"redis_url": redis_server.url, "redis_prefix": "clients", "port": port}
    first = await start(**common)
    client = await drive(library, transport, f"{first.http}?room={room}")
    native = await Client.open(f"{workers[1].ws}/rooms/{room}?presence=1")
    await until_joined(workers[1], room, 2)
    first.signal(signal.SIGKILL)
    await eventually(lambda: first.process.poll() is not None)
    second = await start(**common)
    await client.until("open")
    await eventually(lambda: second.metric("relay_sessions", protocol="socketio"))
    await native.send(ENVELOPE)
    assert await client.until("heard") == [ENVELOPE]
    client.tell(emit=[{"message": "back"}])
    await native.until(lambda event: event.get("message") == "back")
    await native.close()
