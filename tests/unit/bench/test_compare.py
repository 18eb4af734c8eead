import pytest

from tests.bench.compare import Failed, interval, judged, read_parts, target_line

PARTS = """Python, 50 rooms of 2: 34.1 µs a message, of which
   12.0  from the socket to Redis
    3.1  Redis's answer
   19.0  from Redis to the sockets
Redis, µs a message, the median of rounds and the least:
    8.6   8.5  as it is
   10.1  10.0  as it is, with the log
    3.5   3.4  a script that does nothing
"""


def test_the_output_of_bench_parts_is_read() -> None:
    assert list(read_parts(PARTS).values()) == [34.1, 8.6, 10.1]


def test_another_output_is_refused() -> None:
    with pytest.raises(Failed, match="cannot read"):
        read_parts("Python: fast")


def test_the_interval_holds_the_median_and_is_the_same_each_time() -> None:
    ratios = [0.97, 1.0, 1.01, 1.02, 1.05]
    assert interval(ratios) == interval(ratios)
    low, high = interval(ratios)
    assert 0.97 <= low < 1.01 < high <= 1.05
    assert interval([1.0] * 5) == (1.0, 1.0)


@pytest.mark.parametrize(("factor", "passes"), [(1.0, True), (1.029, True), (1.05, False)])
def test_only_an_interval_above_the_bound_as_a_whole_fails(factor: float, passes: bool) -> None:
    pairs = [(old, old * factor * noise) for old, noise in zip(range(10, 25), [0.995, 1.0, 1.005] * 5, strict=True)]
    lines, passed = judged({"figure": pairs}, 1.03)
    assert passed is passes
    assert ("above 1.03" in lines[0]) is not passes
    assert "15 pairs" in lines[0]


def test_a_wide_interval_around_the_bound_passes() -> None:
    _, passed = judged({"figure": [(10, 10), (10, 11), (10, 9.9), (10, 11.5), (10, 10.4)]}, 1.03)
    assert passed


@pytest.mark.parametrize(("target", "met"), [(0.9, True), (0.7, False)])
def test_the_target_is_judged_by_the_median(target: float, met: bool) -> None:
    line, found = target_line([(10, 9), (10, 8), (10, 20)], target)
    assert found is met
    assert (
        line == f"50 × 2: CPU, µs a delivery: 0.900 of the old one, wanted ≤ {target:g}: {'met' if met else 'not met'}"
    )
