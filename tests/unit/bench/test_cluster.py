"""The measurement over a cluster, with small fleets."""

import argparse
import os

import pytest

from tests.bench import cluster, install
from tests.bench.cluster import Fleet, in_turn
from tests.fleet import require


@pytest.mark.timeout(180)
def test_fleets_are_measured_in_turn(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for tool in ("cc", "redis-server"):
        require(tool)
    install.BUILD.mkdir(parents=True, exist_ok=True)
    install.build_load()
    monkeypatch.setattr(cluster, "SILENCE", 0.1)
    options = argparse.Namespace(rounds=2, seconds=0.4, warmup=0.2)
    allowed = os.sched_getaffinity(0)
    with Fleet(0, 6) as one, Fleet(2, 6) as two:
        costs = in_turn({"one": one, "two": two}, "cycle 6", options)
        assert one.connection.memory != 0
    assert os.sched_getaffinity(0) == allowed
    assert set(costs) == {"one", "two"}, capsys.readouterr().out
    assert [len(costs[name].shards) for name in ("one", "two")] == [1, 2]
    # Each of the three workers has a connection for commands and one for subscriptions.
    assert {cost.connections for cost in costs.values()} == {6}
    assert all(cost.workers > 0 and cost.redis > 0 for cost in costs.values())
