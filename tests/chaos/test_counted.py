"""Faults once, with few rooms: no message lost, repeated or out of order, and presence correct."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from tests.chaos.faults import FAULTS, Fault
from tests.chaos.rounds import NoFakeTime, Outcome, play, table

pytestmark = pytest.mark.asyncio(loop_scope="module")

Rounds = dict[Fault, asyncio.Task[Outcome]]

_AT_A_TIME = 3
"""Rounds that run at the same time: they mostly wait."""

_PATIENT = {"reconnect_grace": 8.0}
"""Three of these rounds share a slow machine: clients may come back later than in `make chaos`."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rounds(request: pytest.FixtureRequest) -> AsyncIterator[Rounds]:
    """The selected rounds as tasks, started in their order, each in an arena of its own."""
    field = asyncio.Semaphore(_AT_A_TIME)

    async def begin(fault: Fault) -> Outcome:
        patient = replace(fault, settings=_PATIENT | dict(fault.settings))
        async with field:
            return await play(patient, seed=random.randrange(10**6), rooms=8, rate=60)

    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    faults = [item.callspec.params["fault"] for item in items if item.module is request.module]
    tasks = {fault: asyncio.create_task(begin(fault)) for fault in faults}
    yield tasks
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)


OFTEN = {
    "worker killed",
    "Redis killed, data lost",
    "subscriptions killed in bursts",
    "subscription stalled",
    "clock jumps by an hour",
    "two workers asked at once",
    "Redis restarted with older data",
    "FLUSHALL with churn",
    "Sentinel: master paused past the failover",
    "cluster: slots moved under load",
    "Socket.IO retries",
    "plain HTTP: worker killed",
    "plain HTTP: responses cut",
    "PeerJS: worker killed",
}
"""The faults of `make test-quiet`. `make chaos` has all of them, many times, and judges the time of recovery."""


@pytest.mark.parametrize(
    "fault",
    [pytest.param(fault, id=fault.name) for fault in FAULTS if fault.name in OFTEN],
)
async def test_acknowledged_messages_arrive_once_and_in_order(fault: Fault, rounds: Rounds) -> None:
    try:
        outcome = await rounds[fault]
    except NoFakeTime as reason:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(reason))
    print(f"seed {outcome.seed}\n{table([outcome])}")
    # `make chaos` judges the time of recovery: these tests may run on a slow machine.
    assert outcome.faults(in_time=False) == []
    assert outcome.verdict.sent > 50
