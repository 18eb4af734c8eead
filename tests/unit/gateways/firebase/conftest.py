"""A worker over memory, and pages on it."""

from collections.abc import AsyncIterator

import pytest

from relay.config import Settings
from relay.rooms.worker import Worker

# Only the tests' own limits are met.
SETTINGS = Settings(
    message_rate=10_000, byte_rate=1_000_000_000, address_byte_rate=1_000_000_000, subscriptions_per_connection=20
)


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    async with Worker(SETTINGS) as worker:
        yield worker
