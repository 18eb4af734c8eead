"""Every fault once, with few rooms: nothing lost, nothing twice, nothing out of order, and presence true."""

import os
import random

import pytest

from tests.chaos.faults import FAULTS, Fault
from tests.chaos.rounds import NoFakeTime, play, table


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_what_was_acknowledged_arrives_once_and_in_order(fault: Fault) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    try:
        outcome = await play(fault, seed=seed, rooms=8, rate=60)
    except NoFakeTime as reason:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(reason))
    print(table([outcome]))
    # How fast it is whole again is for `make chaos` to judge: here it shares its machine.
    assert outcome.faults(in_time=False) == []
    assert outcome.verdict.sent > 50
