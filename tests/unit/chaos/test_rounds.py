"""The verdict of the chaos suite on a round, tested without running one."""

from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.__main__ import chosen, read_options
from tests.chaos.calls import Calls
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.ledger import Verdict
from tests.chaos.rounds import Outcome, Presence, presence_within, table
from tests.chaos.side_by_side import Plan, as_json
from tests.chaos.signals import Fates

PLAIN = next(fault for fault in FAULTS if not fault.forgets)
FORGETS = next(fault for fault in FAULTS if fault.forgets)
WELL = Verdict(
    sent=10,
    acknowledged=10,
    delivered=20,
    lost=0,
    silent=0,
    repeated=0,
    disordered=0,
    across=0,
    told=0,
    whole_after=0.1,
)

EXACT = Presence(exact_after=0.5, wrong=[], ghosts=set(), lasting_ghosts=set())


def outcome(fault: Fault = PLAIN, **changes: Any) -> Outcome:
    seen = {name: changes.pop(name) for name in list(changes) if hasattr(EXACT, name)}
    counted = {name: changes.pop(name) for name in list(changes) if hasattr(WELL, name)}
    well = Outcome(
        fault, 1, WELL, EXACT, false_leaves=[], needlessly_told=set(), missing=[], unproven=[], locked_out=[], lag=0.0
    )
    return replace(well, verdict=replace(WELL, **counted), presence=replace(EXACT, **seen), **changes)


def test_a_round_as_it_should_be() -> None:
    assert outcome().faults() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"lost": 1},
        {"silent": 1},
        {"lasting_ghosts": {("room", "b")}},
        {"locked_out": ["a was closed for good: 4500"]},
        {"repeated": 1},
        {"disordered": 1},
        {"needlessly_told": {("room", "a")}},
        {"acknowledged": 9},
        {"exact_after": None},
        {"false_leaves": ["a was told that b had left"]},
        {"unproven": ["nothing happened"]},
        {"intruders": ["vault1"]},
        {"calls": Calls(3, 1, 9, 8, Fates(8, silent=["a to p1: 0"]))},
        {"calls": Calls(3, 1, 9, 9, not_back=[("room", "p1")])},
    ],
    ids=str,
)
def test_each_count_that_should_be_zero(changes: dict[str, Any]) -> None:
    assert len(outcome(**changes).faults(in_time=False)) == 1


def test_where_redis_loses_data_every_loss_is_reported() -> None:
    assert outcome(FORGETS, told=5, across=1).faults() == []
    assert len(outcome(FORGETS, silent=1).faults()) == 1


def test_times_are_judged_where_they_are_asked_for() -> None:
    late = outcome(whole_after=2.5, exact_after=presence_within() + 1, ghosts={("room", "b")}, oldest_again=3.0)
    assert len(late.faults()) == 4
    assert late.faults(in_time=False) == []


def test_the_table_sums_up_and_shows_the_worst() -> None:
    rounds = [outcome(whole_after=0.2), outcome(whole_after=0.9, lost=1, exact_after=1.5, false_leaves=["a"])]
    assert f"| {PLAIN.name} | 2 | 20 | 40 | 1 | 0 | 0 | 0 | 0 | 0 | 0 | 1 | 0 | 0.9 | 1.5 |" in table(rounds)
    assert "| never |" in table([outcome(exact_after=None)])


def test_each_fault_is_played_as_often_as_the_others_and_each_round_has_a_seed_of_its_own() -> None:
    rounds = Plan([PLAIN, FORGETS], 5, seed=7, rooms=1, rate=1).rounds
    assert [seed for _, seed in rounds] == [7, 8, 9, 10, 11]
    assert [fault for fault, _ in rounds] == [PLAIN, FORGETS, PLAIN, FORGETS, PLAIN]


def test_the_record_has_every_count_of_every_round() -> None:
    first, second = as_json([replace(outcome(lost=1), seed=4), replace(outcome(), seed=3)])
    assert (first["seed"], first["lost"], first["broken"]) == (3, 0, [])
    assert (second["seed"], second["lost"], len(second["broken"])) == (4, 1, 1)  # type: ignore[arg-type]


def test_faults_are_chosen_by_words_of_their_names() -> None:
    assert chosen([]) == list(FAULTS)
    assert [fault.name for fault in chosen(["stuck-readers"])] == ["stuck readers"]
    assert {fault.name for fault in chosen(["worker-killed"])} >= {"worker killed", "PeerJS: worker killed"}
    with pytest.raises(SystemExit):
        read_options(["--fault", "no such thing"])
