"""The fullest node decides."""

from relay.backend.headroom import Headroom, Level
from relay.backend.redis.cluster.memory import FullestNode


def test_the_fullest_node_decides_about_all() -> None:
    shared = Headroom(0.8)
    fullest = FullestNode(shared)
    one, other = fullest.of(("a", 1)), fullest.of(("b", 1))
    one.report(85, 100)
    other.report(10, 100)
    assert shared.share == 0.85
    assert one.level is other.level is shared.level is Level.LOW
    one.report(10, 100)
    other.report(20, 0)
    assert (shared.share, other.level) == (0.1, Level.AMPLE)


def test_a_node_that_refuses_writes_counts_until_it_takes_them_or_is_gone() -> None:
    shared = Headroom(0.8)
    fullest = FullestNode(shared)
    one, other = fullest.of(("a", 1)), fullest.of(("b", 1))
    one.report_refusal(refuses=True)
    other.report_refusal(refuses=False)
    assert other.level is Level.FULL
    fullest.forget(("a", 1))
    assert other.level is Level.AMPLE
