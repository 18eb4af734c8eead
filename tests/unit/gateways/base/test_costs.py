"""As how many more messages commands count that ask Redis."""

import pytest

from relay.gateways.base.costs import extra_cost
from relay.gateways.native.topics import SubscribeTopics, UnsubscribeTopics
from relay.limits import Pace, PaceLimits, TokenBucket
from relay.model.commands import (
    AskPresence,
    ChangeRules,
    CloseRoom,
    Command,
    Detect,
    Join,
    Kick,
    Leave,
    Move,
    MoveMembers,
    Ping,
    Refresh,
    SetInfo,
)
from relay.model.rules import RuleChange


class Unbounded:
    """An allowance that is never used up."""

    open, is_used_up = True, False

    def use(self, amount: int) -> None:
        pass


@pytest.mark.parametrize(
    ("command", "cost"),
    [
        (Ping(), 0),
        (Leave(), 0),
        (SetInfo(b"{}"), 0),
        (Detect("chess"), 0),
        (Join("room"), 3),
        (Move("room"), 3),
        (Refresh("token"), 3),
        (Join("room", resume="key", since="1-1"), 28),
        (AskPresence(limit=0), 0),
        (AskPresence(), 10),
        (AskPresence(limit=1000), 100),
        (Kick("p"), 3),
        (ChangeRules(), 3),
        (ChangeRules(RuleChange(locked=True)), 3),
        (ChangeRules(RuleChange(password="")), 3),
        (ChangeRules(RuleChange(password="word")), 25),
        (CloseRoom(), 25),
        (MoveMembers("other"), 25),
        (SubscribeTopics(("a", "b")), 6),
        (UnsubscribeTopics(("a", "b")), 0),
    ],
)
def test_a_command_counts_by_the_work_of_redis_for_it(command: Command, cost: float) -> None:
    assert extra_cost(command) == cost


def test_later_messages_wait_for_a_costly_command_and_never_for_long() -> None:
    now = 100.0
    pace = Pace(
        PaceLimits(200, 400, 1e6, 5), TokenBucket(1e9, 1e9, lambda: now), lambda: now, lambda name: Unbounded(), ""
    )
    assert sum(pace.admits(10) and not pace.spend(100) for _ in range(100)) == 4
    assert pace.delay() == pytest.approx(0.025, abs=0.01)
    slow = Pace(
        PaceLimits(1, 10, 1e6, 5), TokenBucket(1e9, 1e9, lambda: now), lambda: now, lambda name: Unbounded(), ""
    )
    assert slow.admits(10)
    slow.spend(100)
    assert sum(slow.admits(10) for _ in range(10)) == 6


def test_a_client_whose_room_is_above_its_rate_waits_and_is_not_refused() -> None:
    now = 100.0
    pace = Pace(
        PaceLimits(200, 400, 1e6, 0), TokenBucket(1e9, 1e9, lambda: now), lambda: now, lambda name: Unbounded(), ""
    )
    assert pace.admits(10)
    pace.hold(2)
    assert not pace.admits(10)
    assert pace.delay() == 2
    now += 2.01
    assert pace.admits(10)
