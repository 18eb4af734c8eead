"""Delays between attempts."""

from relay.client.backoff import Backoff


def test_bounds_double_and_delays_are_drawn_from_the_whole_range() -> None:
    longest, shortest = Backoff(draw=lambda: 1.0), Backoff(draw=lambda: 0.0)
    assert [longest.next() for _ in range(7)] == [0.25, 0.5, 1, 2, 4, 8, 10]
    assert longest.next(at_least=2) == 12
    longest.reset()
    assert (longest.next(), longest.soon()) == (0.25, 0.5)
    assert (shortest.next(), shortest.next(at_least=1)) == (0, 1)
