from relay.backend.redis.clock import RedisClock


def test_the_time_in_redis_is_as_exact_as_the_best_reply_and_never_ahead() -> None:
    now = [100.0]
    clock = RedisClock(lambda: now[0], timeout=5)
    assert (clock.time, clock.deadline) == (100, 0)
    # It is 1000 s there, or up to 0.9 s more.
    clock.learn(1_000_000, asked=99.1)
    assert clock.deadline == 1_005_000
    clock.learn(1_000_800, asked=99.9)
    assert (clock.deadline, clock.now) == (1_005_800, 1_000_800)
    # A worker that stood still reads a reply late.
    now[0] += 2
    clock.learn(1_000_900, asked=100)
    assert 1_002_790 <= clock.now <= 1_002_800


def test_a_late_reply_shows_that_the_clock_was_set() -> None:
    """Or that another master has taken over: otherwise all that this worker asks for would be too late, or in time."""
    now = [100.0]
    clock = RedisClock(lambda: now[0], timeout=5)
    clock.learn(1_000_000, asked=99.999)
    clock.learn(1_060_000, asked=98)
    assert clock.now == 1_060_000
    clock.learn(1_000_000, asked=97)
    assert clock.now == 1_000_000
    clock.learn(1_002_500, asked=99.999)
    assert clock.now == 1_002_500


def test_a_clock_that_runs_more_slowly_is_not_taken_to_be_ahead() -> None:
    now = [100.0]
    clock = RedisClock(lambda: now[0], timeout=5)
    clock.learn(1_000_000, asked=99.999)
    now[0] += 1000
    assert clock.now == 1_999_500
    clock.learn(1_999_700, asked=now[0] - 0.001)
    assert clock.now == 1_999_700


def stamp_of(clock: RedisClock, arrived: float) -> tuple[int, int]:
    stamp = clock.stamp(arrived)
    assert stamp is not None
    return stamp.earliest, stamp.latest


def test_a_stamp_is_as_exact_as_the_best_recent_reply() -> None:
    now = [100.0]
    clock = RedisClock(lambda: now[0], timeout=5)
    assert clock.stamp(99) is None
    # Redis was at 5000 s at some moment between 99.9 and 100 s.
    clock.bound(5_000_000_000, asked=99.9)
    assert stamp_of(clock, 100) == (5_000_000_000, 5_000_100_001)
    # A slower reply says less, and a faster one more.
    clock.bound(5_000_000_000, asked=99.5)
    assert stamp_of(clock, 100) == (5_000_000_000, 5_000_100_001)
    clock.bound(5_000_010_000, asked=99.99)
    assert stamp_of(clock, 100) == (5_000_010_000, 5_000_020_001)
    assert stamp_of(clock, 99) == (4_999_010_000, 4_999_020_001)


def test_a_stamp_gets_wider_while_no_reply_comes() -> None:
    now = [100.0]
    clock = RedisClock(lambda: now[0], timeout=5)
    clock.bound(5_000_000_000, asked=100)
    now[0] += 10
    assert stamp_of(clock, 110) == (5_010_000_000 - 5000, 5_010_000_001 + 5000)
    clock.bound(5_010_000_100, asked=109.999)
    assert stamp_of(clock, 110) == (5_010_000_100, 5_010_001_101)


def test_a_clock_that_was_set_is_noticed_with_the_next_reply() -> None:
    now = [100.0]
    clock = RedisClock(lambda: now[0], timeout=5)
    clock.bound(5_000_000_000, asked=100)
    clock.bound(4_000_000_000, asked=99)
    assert stamp_of(clock, 100) == (4_000_000_000, 4_001_000_001)
    clock.bound(6_000_000_000, asked=98)
    assert stamp_of(clock, 100) == (6_000_000_000, 6_002_000_001)


def test_no_stamp_is_from_before_the_epoch() -> None:
    clock = RedisClock(lambda: 100.0, timeout=5)
    clock.bound(5, asked=100)
    assert stamp_of(clock, 1) == (0, 0)
