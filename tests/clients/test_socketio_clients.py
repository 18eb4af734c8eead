"""Socket.IO clients in Java, Rust and Go."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.clients.builds import program
from tests.conformance import language_cases as cases
from tests.conformance.language_cases import CASES, Case, Ground, Lack, Library, rows
from tests.fleet import RedisServer

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The first test of a program builds it.
    pytest.mark.timeout(2400),
]

GO_POLLING = "over polling, this version sends nothing after its first packet, to the reference server neither"

LIBRARIES = [
    Library("socket.io-client 2.1 for Java", program("java-2.1", "socketio")),
    Library("socket.io-client 1.0 for Java", program("java-1.0", "socketio")),
    Library(
        "rust_socketio 0.6",
        program("rust", "socketio"),
        [
            Lack(cases.events_without_arguments, "its handlers get such an event as `message`, with the name as data"),
            Lack(
                cases.binary_data_of_every_byte,
                "over WebSocket, it splits binary data at bytes 0x1e, that of the reference server as well",
                ["websocket"],
            ),
            Lack(cases.binary_data_among_other_arguments, "it sends and hears binary data as the only argument"),
        ],
    ),
    Library(
        "zishang520 socket.io 3 for Go",
        program("go", "socketio"),
        [Lack(case, GO_POLLING, ["polling"], asserted=case is cases.emits_are_acknowledged) for case in CASES],
    ),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ground(redis_server: RedisServer) -> AsyncIterator[Ground]:
    async with Ground(redis_server.url) as ground:
        yield ground


@pytest.mark.parametrize(("library", "transport", "case"), rows(LIBRARIES))
async def test_case(ground: Ground, library: Library, transport: str, case: Case) -> None:
    await case(await ground.stage(library, transport, case))
