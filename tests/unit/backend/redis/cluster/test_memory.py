"""Each node decides about its own rooms; the cluster has the share and the level of the fullest one."""

import logging
from math import isnan

import pytest

from relay.backend.headroom import Headroom, Level
from relay.backend.redis.cluster.memory import ClusterHeadroom


class Desk:
    """Two nodes, `a` and `b`; a room is at the node that its name begins with."""

    def __init__(self) -> None:
        self.shares: list[float] = []
        self.levels: list[Level] = []
        self.headroom = ClusterHeadroom(0.8, self.shares.append)
        self.nodes = {name: self.headroom.of((name, 1)) for name in "ab"}
        self.headroom.headroom_at = lambda room: self.nodes[room[0]]
        self.headroom.watch(self.levels.append)

    def of_rooms(self) -> list[Level]:
        """The levels of a room at each node."""
        return [self.headroom.level_of(room) for room in ("a room", "b room")]


def test_a_full_node_decides_about_its_own_rooms_alone() -> None:
    desk = Desk()
    desk.nodes["a"].report(95, 100)
    desk.nodes["b"].report(10, 100)
    assert desk.of_rooms() == [Level.FULL, Level.AMPLE]
    assert (desk.headroom.level, desk.headroom.share, desk.shares[-1]) == (Level.FULL, 0.95, 0.95)
    desk.nodes["b"].report(85, 100)
    assert desk.of_rooms() == [Level.FULL, Level.LOW]
    desk.nodes["a"].report(10, 100)
    assert desk.of_rooms() == [Level.AMPLE, Level.LOW]
    desk.nodes["b"].report(20, 0)
    assert (desk.of_rooms(), desk.headroom.share) == ([Level.AMPLE, Level.AMPLE], 0.1)
    assert desk.levels == [Level.AMPLE, Level.FULL, Level.LOW, Level.AMPLE]


def test_a_node_that_refuses_writes_counts_until_it_takes_them_or_is_gone() -> None:
    desk = Desk()
    desk.nodes["a"].report_refusal(refuses=True)
    desk.nodes["b"].report_refusal(refuses=False)
    assert desk.of_rooms() == [Level.FULL, Level.AMPLE]
    desk.headroom.forget(("a", 1))
    desk.headroom.forget(("a", 1))
    assert desk.headroom.level is Level.AMPLE
    # Reports of nobody.
    desk.headroom.report_refusal(refuses=True)
    desk.headroom.report(99, 100)
    assert (desk.headroom.level, desk.of_rooms()) == (Level.AMPLE, [Level.AMPLE, Level.AMPLE])
    assert isnan(desk.shares[-1])


def test_health_and_the_log_name_each_node_that_is_short_of_memory(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    assert desk.headroom.text == "Redis's maxmemory has no limit that the relay knows"
    desk.nodes["a"].report(70, 100)
    desk.nodes["b"].report(60, 100)
    assert desk.headroom.text == "70% of the maxmemory of shard a:1 is used"
    desk.nodes["b"].report(99, 100)
    assert desk.headroom.text.startswith("99% of the maxmemory of shard b:1 is used: in the rooms of this shard")
    desk.nodes["a"].report(85, 100)
    assert desk.headroom.text.count("of the maxmemory of shard ") == 2
    assert [(record.levelno, record.message[:46]) for record in caplog.records] == [
        (logging.ERROR, "memory: 99% of the maxmemory of shard b:1 is u"),
        (logging.WARNING, "memory: 85% of the maxmemory of shard a:1 is u"),
    ]


def test_one_redis_has_one_level_for_all_rooms() -> None:
    headroom = Headroom(0.8)
    headroom.report(95, 100)
    assert headroom.level_of("any") is Level.FULL
