"""SIP user agents of one worker, over the memory backend."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay.config import Settings
from relay.gateways.sip.login import Logins
from relay.rooms.worker import Worker
from tests.unit.gateways.sip.fakes import Enter, LocalAgent


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    async with Worker(Settings(), {"sip": ["bad_sip"]}) as worker:
        yield worker


@pytest.fixture
def enter(worker: Worker) -> Enter:
    logins = Logins(worker)

    async def enter(user: str, *, register: bool = True, more: tuple[str, ...] = (), **options: Any) -> LocalAgent:
        agent = await LocalAgent(worker, logins, user, **options).begin()
        if register:
            answer = await agent.register(more=more)
            assert answer.status == 200, answer
        return agent

    return enter
