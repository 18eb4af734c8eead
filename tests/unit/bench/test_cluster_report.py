"""The figures of the cost over a cluster, and their page."""

import pytest

from tests.bench.cluster_report import Connection, Cost, Section, Shard, Window, page, spread, typical

WINDOWS = [
    # 100 deliveries; 10, 20 and 90 ms of the workers; 1 and 2 ms of two masters.
    Window(100, 2, workers, 0.001, [Shard(60, 0.001, 30, 6, 6000, 600), Shard(40, 0.002, 20, 4, 4000, 400)])
    for workers in (0.01, 0.09, 0.02)
]


def test_medians_of_windows() -> None:
    cost = typical(WINDOWS)
    assert (cost.workers, cost.redis, cost.silent) == pytest.approx((200, 30, 10))
    assert cost.net == pytest.approx(220)
    assert (cost.batch, cost.rate, cost.connections) == (2, 50, 6)
    assert (cost.received, cost.sent) == (100, 10)
    assert [share for share, _ in cost.shards] == [0.6, 0.4]
    assert [each for _, each in cost.shards] == pytest.approx([1000 / 60, 50])


def test_a_look_at_a_master_counts_since_the_one_before() -> None:
    before, after = Shard(10, 0.5, 5, 6, 100, 200), Shard(30, 0.75, 9, 4, 400, 700)
    assert after.since(before) == Shard(20, 0.25, 4, 4, 300, 500)
    assert Shard(0, 1, 0, 0).cost == 0


def test_the_spread_is_the_largest_distance_from_the_mean() -> None:
    assert spread([10, 10, 10]) == 0
    assert spread([9, 10, 11]) == pytest.approx(0.1)


def cost(net: float) -> Cost:
    return Cost(net, 0, 0, 1, 1000, [(0.5, 10), (0.5, 12)], 6)


def test_the_page_judges_the_targets() -> None:
    flat = Section("Flat", "masters", {"a": cost(100), "b": cost(110), "other": cost(900)}, "flat", ["other"])
    steep = Section("Steep", "rooms", {"a": cost(100), "b": cost(200)}, "steep")
    lines = page(["- a fact"], [flat, steep], {"10": Connection(0.001, 0.0002, 5000, 550)}, cost(1), "shards")
    assert "- flat: ± 4.8%, wanted ± 15%: met" in lines
    assert "- steep: ± 33.3%, wanted ± 15%: **not met**" in lines
    assert "- shards: ± 9.1%, wanted ± 10%: met" in lines
    assert "| 10 | 1000 | 200 | 5.0 | 0.55 |" in lines
    assert "| 2 | 50.0% | 12.0 |" in lines
