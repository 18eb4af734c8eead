"""The verdict of the abuse suite on a run, tested without running one."""

from dataclasses import replace
from typing import Any

import pytest

from tests.abuse import table
from tests.abuse.__main__ import read_options
from tests.abuse.table import compare, load, save
from tests.abuse.verdict import Figures, harms

WELL = Figures(
    attack="flood",
    says="Many messages.",
    seconds=60,
    connections=20,
    bytes_per_second=1_234_567.8,
    ends={},
    sent=12_000,
    p50=0.002,
    p99=0.02,
    lost=0,
    repeated=0,
    disordered=0,
    closes={},
    newcomers=59,
    refused={},
    longest_join=0.1,
    redis_share=0.1,
    longest_script=0.001,
    worker_memory=60_000_000,
    health={"200": 300},
    unready=[],
    longest_health=0.01,
    lag=0.001,
    cpu={"worker": 0.5},
    log_bytes=100,
)


def test_a_run_as_it_should_be() -> None:
    assert harms(WELL) == []


@pytest.mark.parametrize(
    ("changes", "harm"),
    [
        ({"p99": 0.061}, "p99 61 ms"),
        ({"lost": 3}, "3 of 12,000 messages lost"),
        ({"repeated": 1}, "1 repeated"),
        ({"disordered": 1}, "1 out of order"),
        ({"closes": {"ConnectionClosedError": 2}}, "2 connections of others closed"),
        ({"refused": {"HTTP 503": 1}}, "1 of 60 newcomers refused"),
        ({"redis_share": 0.8}, "Redis 80% full"),
        ({"worker_memory": 256_000_000}, "worker 256 MB"),
        ({"health": {"200": 299, "503": 1}}, "not ready 0% of the time"),
        ({"health": {"no answer": 1}}, "not ready 100% of the time"),
    ],
    ids=str,
)
def test_each_harm(changes: dict[str, Any], harm: str) -> None:
    assert harms(replace(WELL, **changes)) == [harm]


def test_a_machine_that_is_late_itself_does_not_judge_latencies() -> None:
    late = replace(WELL, p99=0.061, lag=0.03)
    assert harms(late) == []
    assert "too busy" in table.harm(late)


def test_runs_side_by_side(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    save("before", [replace(WELL, lost=3), replace(WELL, attack="other")])
    save("before", [replace(WELL, attack="other", lost=1)])
    save("after", [WELL])
    assert load("before")["other"].lost == 1
    [_, _, flood, other] = compare(load("before"), load("after"))
    assert flood == "| **flood**: Many messages. | 20 | 1,234,568 | 3 of 12,000 messages lost | none (p99 20 ms) |"
    assert other.endswith("| 1 of 12,000 messages lost | not run |")


def test_only_a_run_of_all_attacks_on_this_version_is_kept_unless_told() -> None:
    assert read_options([]).save == "after"
    assert read_options(["--attack", "flood"]).save is None
    assert read_options(["--tree", "."]).save is None
    assert read_options(["--tree", ".", "--save", "before"]).save == "before"
