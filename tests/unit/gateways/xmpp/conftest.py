from collections.abc import AsyncIterator

import pytest

from relay.config import Settings
from relay.rooms.worker import Worker


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    async with Worker(Settings(owner_rules="on")) as worker:
        yield worker
