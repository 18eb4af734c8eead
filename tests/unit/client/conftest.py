"""The scripted relay of these tests."""

from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.server import serve

from tests.unit.client.script import Script


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    script = Script()
    async with serve(
        script.serve, "127.0.0.1", 0, process_request=script.check, subprotocols=["relay.v1"], ping_interval=None
    ) as server:
        script.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield script
