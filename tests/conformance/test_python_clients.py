"""The clients of python-socketio 5 and 4, each of which runs in a virtual environment of its own."""

import os
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio

from tests.chaos.network import Network
from tests.conformance.language_cases import CASES, Case, Library, Stage
from tests.conformance.programs import ClientProgram
from tests.fleet import RedisServer, Relay

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).parent / "python" / "program.py"
LIBRARIES = [
    Library(f"python-socketio {version} {kind}", [f"build/clients/python-{version}/bin/python", str(PROGRAM), kind])
    for version in ("5", "4")
    for kind in ("sync", "asyncio")
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers(redis_server: RedisServer) -> AsyncIterator[tuple[Relay, Relay]]:
    relays = [Relay(redis_url=redis_server.url, redis_prefix="languages", reconnect_grace=5.0) for _ in range(2)]
    yield await relays[0].ready(), await relays[1].ready()
    for relay in relays:
        relay.close()


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=LIBRARIES, ids=lambda library: library.name.replace(" ", "-")
)
async def program(request: pytest.FixtureRequest) -> AsyncIterator[ClientProgram]:
    library: Library = request.param
    interpreter = ROOT / library.command[0]
    if not interpreter.exists():
        reason = f"{library.command[0]} is not installed; `make test-gateways` installs it"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    program = await ClientProgram.run([str(interpreter), *library.command[1:]])
    yield program
    await program.close()


@pytest.mark.parametrize("transport", ["websocket", "polling"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_case(program: ClientProgram, workers: tuple[Relay, Relay], case: Case, transport: str) -> None:
    room = f"{case.__name__}-{transport}-{id(program)}"
    await case(Stage(program, workers, room, [transport]))


async def test_a_client_goes_on_when_its_worker_is_killed(program: ClientProgram, redis_server: RedisServer) -> None:
    settings = {"redis_url": redis_server.url, "redis_prefix": "killed", "worker_lease": 1.0, "reconnect_grace": 1.0}
    with closing(Relay(**settings)) as first, closing(Relay(**settings)) as second:
        workers = (await first.ready(), await second.ready())
        stage = Stage(program, workers, f"killed-{id(program)}", ["websocket"])
        async with Network(first.port) as network:
            ann, native = await stage.client(port=network.port), await stage.native()
            await native.send({"event": "one", "args": [1]})
            assert await ann.event() == ("one", [1])
            network.target = second.port
            first.process.kill()
            await ann.until("disconnect")
            await ann.until("connect")
            await native.send({"event": "one", "args": [2]})
            assert await ann.event() == ("one", [2])
            ann.disconnect()
            await native.close()
