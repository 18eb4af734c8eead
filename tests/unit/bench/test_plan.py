"""The plan for many connections: its arithmetic, and the page that shows it."""

from math import ceil
from pathlib import Path

import pytest

from tests.bench.plan import (
    HANDSHAKE,
    LOADS,
    PAIR,
    REDIS_MESSAGE,
    SHARE,
    SILENT,
    WORKER_MESSAGE,
    Load,
    Plan,
    main,
    table,
)

PAGE = Path(__file__).parents[3] / "deploy" / "README.md"


def test_the_page_has_the_table_of_the_plan() -> None:
    assert "\n".join(table(LOADS)) in PAGE.read_text(), "write the output of `python -m tests.bench.plan` into the page"


def test_the_arithmetic() -> None:
    plan = Plan(Load(connections=200_000, fleets=2, members=2, interval=4, session=100, clients=5000, history=10))
    assert (plan.connections, plan.messages, plan.workers) == (100_000, 25_000, 20)
    assert plan.masters == ceil(25_000 * REDIS_MESSAGE / (SHARE - 20 * PAIR / 2))
    cores = 25_000 * WORKER_MESSAGE + 100_000 * SILENT + 1000 * HANDSHAKE + 20 * plan.masters * PAIR / 2
    assert plan.worker == pytest.approx(cores / 20)
    assert plan.memory == 100_000 * 550 + 50_000 * 10 * 516


def test_no_worker_and_no_master_has_more_than_its_share() -> None:
    for load in LOADS:
        plan = Plan(load)
        assert plan.worker <= SHARE
        assert plan.at_redis / plan.masters + plan.workers * PAIR / 2 <= SHARE


def test_memory_may_need_more_masters_than_messages_do() -> None:
    assert Plan(Load(history=2000)).masters == 26


def test_one_fleet_has_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--connections", "100000000", "--fleets", "1"])
    assert "one fleet is not enough" in capsys.readouterr().err
    assert main(["--connections", "50000", "--fleets", "1"]) == 0
    assert "| 50,000 |" in capsys.readouterr().out
