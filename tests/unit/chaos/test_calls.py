"""The count of calls after a round, without pages."""

from typing import Any

import pytest

from tests.chaos.calls import Calls, State, calls_table
from tests.chaos.rmc3_members import RmcMember
from tests.chaos.signals import SentSignals

OWNER = State(sees_room=True, opened=True, told=True, owns=True)
MEMBER = State(sees_room=True, opened=False, told=False, owns=False)
WELL = {("room", "p0"): OWNER, ("room", "p1"): MEMBER}


def page(name: str) -> RmcMember:
    return RmcMember(["ws://relay"], "room", name, slow=1.0, brings_pid=True)


def test_pages_that_are_where_they_were() -> None:
    calls = Calls.of(WELL, [])
    assert calls.faults() == []
    assert (calls.rooms_gone, calls.owners_lost, calls.not_back) == ([], [], [])


@pytest.mark.parametrize(
    ("place", "state", "counted"),
    [
        ("p1", State(sees_room=True, opened=False, told=False, owns=None), {"not_back": [("room", "p1")]}),
        ("p0", State(sees_room=True, opened=True, told=True, owns=False), {"owners_lost": ["room"]}),
        ("p1", State(sees_room=True, opened=False, told=True, owns=True), {"owners_lost": ["room"]}),
        ("p1", State(sees_room=True, opened=False, told=True, owns=False), {"owners_lost": ["room"]}),
    ],
    ids=["not back", "no owner any more", "another owner", "another one that was told so"],
)
def test_each_loss_is_counted(place: str, state: State, counted: dict[str, Any]) -> None:
    calls = Calls.of({**WELL, ("room", place): state}, [])
    assert len(calls.faults()) == 1
    assert {name: getattr(calls, name) for name in counted} == counted


def test_a_room_is_gone_if_no_page_sees_it() -> None:
    gone = State(sees_room=False, opened=False, told=False, owns=None)
    assert Calls.of({**WELL, ("other", "p0"): gone, ("other", "p1"): gone}, []).rooms_gone == ["other"]
    assert Calls.of({**WELL, ("room", "p2"): gone}, []).rooms_gone == []


async def test_a_round_without_pages_has_no_calls() -> None:
    assert await Calls.count({("room", "p0"): object()}) is None
    assert calls_table([]) == ""


def test_signals_are_summed_up_over_pages_and_rounds() -> None:
    first, second = page("p0"), page("p1")
    sent = SentSignals("a")
    second.sent = [sent]
    for number in range(4):
        assert sent.send("p0", 1.0) == number
    first.welcomes, second.welcomes = 3, 1
    for number in (0, 1, 3):
        first.signals.hear("a", number, now=1.0, own_loss=0.0)
    second.errors.append("unavailable: …")
    calls = Calls.of(WELL, [first, second])
    assert calls.reconnects == 2
    assert (calls.signals_sent, calls.signals_received, calls.signals_lost) == (4, 3, 1)
    assert calls.faults() == ["1 signals lost in silence, such as ['a to p0: 2']"]
    assert "| worker killed | 2 | 4 | 4 | 8 | 6 | 2 | 0 | 0 | 0 | 2 |" in calls_table([("worker killed", calls)] * 2)


def test_a_lost_signal_of_which_its_sender_was_told_is_counted_and_no_fault() -> None:
    first, second = page("p0"), page("p1")
    sent = SentSignals("a")
    second.sent = [sent]
    sent.send("p0", 1.0)
    second.hear("logs", "unavailable: Redis is away (signal to p0)")
    calls = Calls.of(WELL, [first, second])
    assert (calls.signals_lost, calls.fates.sender_told, calls.faults()) == (1, 1, [])
