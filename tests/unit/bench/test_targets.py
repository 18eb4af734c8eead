import pytest

from tests.bench.targets import TARGETS, Target, judge, judge_flatness, medians


def sample(system: str, shape: str, **figures: float) -> dict:
    return {"system": system, "shape": shape, "figures": figures}


def test_the_median_of_the_rounds_counts() -> None:
    rounds = [sample("relay", "50x2", cpu=value) for value in (10.0, 90.0, 12.0)]
    assert medians(rounds) == {("relay", "50x2", "cpu"): 12.0}


def test_a_sample_that_failed_counts_for_nothing() -> None:
    assert medians([sample("relay", "50x2"), sample("relay", "50x2", cpu=7.0)]) == {("relay", "50x2", "cpu"): 7.0}


@pytest.mark.parametrize(("ours", "met"), [(1.9, True), (2.0, True), (2.1, False)])
def test_a_ratio_is_met_up_to_its_limit(ours: float, met: bool) -> None:
    found = {("relay", "50x2", "cpu"): ours, ("ws", "50x2", "cpu"): 10.0}
    assert judge(Target("cost", "50x2", "cpu", 0.2, ("ws",)), found).met is met


def test_the_best_peer_is_the_one_to_beat() -> None:
    found = {("relay", "a", "p99"): 6.0, ("ws", "a", "p99"): 10.0, ("nchan", "a", "p99"): 5.0}
    assert judge(Target("p99", "a", "p99", 1.0, ("ws", "nchan")), found).value == pytest.approx(1.2)


def test_latency_at_a_lower_rate_does_not_compare() -> None:
    found = {
        ("relay", "a", "p99"): 6.0,
        ("relay", "a", "rate"): 2000.0,
        ("ws", "a", "p99"): 1.0,
        ("ws", "a", "rate"): 500.0,
    }
    assert judge(Target("p99", "a", "p99", 1.0, ("ws",)), found).met is None


def test_latency_at_a_lower_rate_meets_nothing() -> None:
    found = {("relay", "a", "p99"): 0.5, ("relay", "a", "rate"): 1000.0}
    assert judge(Target("p99", "a", "p99", 1.0), found).met is False


@pytest.mark.parametrize(("rate", "met"), [(2400.0, False), (2600.0, True)])
def test_some_figures_are_to_be_large(rate: float, met: bool) -> None:
    target = Target("handshakes", "idle", "handshakes", 2500, at_least=True)
    assert judge(target, {("relay", "idle", "handshakes"): rate}).met is met


def test_of_figures_that_are_to_be_large_the_largest_peer_counts() -> None:
    rates = {"relay": 3000.0, "ws": 1000.0, "nchan": 2000.0}
    found = {(system, "idle", "handshakes"): rate for system, rate in rates.items()}
    target = Target("handshakes", "idle", "handshakes", 1.5, ("ws", "nchan"), at_least=True)
    assert judge(target, found).value == pytest.approx(1.5)


def test_a_target_without_a_measurement_is_neither_met_nor_missed() -> None:
    assert {judge(target, {}).met for target in TARGETS} == {None}


@pytest.mark.parametrize(("dearest", "met"), [(13.0, True), (18.0, False)])
def test_flat_is_within_a_fifth_of_the_middle(dearest: float, met: bool) -> None:
    found = {("relay", "rooms-10", "cpu"): 10.0, ("relay", "rooms-9900", "cpu"): dearest}
    assert judge_flatness(found).met is met


@pytest.mark.parametrize("rooms", [(10,), (10, 100), (100, 9900)])
def test_a_part_of_the_range_says_nothing_of_the_whole(rooms: tuple[int, ...]) -> None:
    assert judge_flatness({("relay", f"rooms-{count}", "cpu"): 10.0 for count in rooms}).met is None
