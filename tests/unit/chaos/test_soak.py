"""A soak: what grows, and what only takes its time to come to rest."""

from random import Random

from tests.chaos.faults import cut, half_open, reset_clients
from tests.chaos.soak import Track, in_turns


def followed(values: list[float], *, floor: float = 0, settles: float = 0) -> Track:
    """A track with a value every five seconds."""
    track = Track("keys", floor, settles)
    for number, value in enumerate(values):
        track.add(5.0 * number, value)
    return track


def test_a_leak_grows_although_faults_hide_it_for_a_moment() -> None:
    leak = followed([100.0 + number + 50 * (number % 3) for number in range(120)])
    assert leak.grows
    assert leak.state == "grows"


def test_what_an_outage_takes_is_no_leak() -> None:
    """Tasks that wait for Redis: most looks of the last quarter are in an outage."""
    tasks = followed([48.0] * 30 + [90.0, 90.0, 90.0, 48.0] * 2, floor=10)
    assert tasks.quarters == (48.0, 48.0)
    assert tasks.state == "at rest"


def test_what_is_kept_for_a_while_is_judged_after_that() -> None:
    kept = [min(2000.0, 60.0 * number) for number in range(120)]
    assert followed(kept, settles=170).state == "at rest"
    assert followed([float(number) for number in range(120)], settles=170).state == "grows"


def test_a_soak_that_is_too_short_says_so() -> None:
    short = followed([60.0 * number for number in range(30)], settles=150)
    assert not short.grows
    assert short.state == "not judged: it needs 5 minutes"


def test_each_fault_has_its_turn() -> None:
    turns = in_turns([reset_clients, half_open, cut], Random(1))
    drawn = [next(turns) for _ in range(9)]
    assert all(set(drawn[start : start + 3]) == {reset_clients, half_open, cut} for start in (0, 3, 6))
