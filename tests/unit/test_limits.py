import pytest

from relay.limits import AddressLimits, Pace, PaceLimits, TokenBucket, burst_of


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_allows_a_burst_then_its_rate() -> None:
    clock = Clock()
    bucket = TokenBucket(rate=8, burst=3, clock=clock)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    clock.now += 0.125
    assert [bucket.take() for _ in range(2)] == [True, False]
    clock.now += 100
    assert bucket.full
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]


def test_connections_of_one_address_do_not_count_against_another() -> None:
    limits = AddressLimits(connections=2, handshakes=100, byte_rate=1e6, clock=Clock())
    assert [limits.admit("a") for _ in range(3)] == ["", "", "too_many_connections"]
    assert limits.admit("b") == ""
    limits.release("a")
    assert limits.admit("a") == ""


def test_handshakes_of_one_address_are_counted_whether_admitted_or_not() -> None:
    clock = Clock()
    limits = AddressLimits(connections=1, handshakes=3, byte_rate=1e6, clock=clock)
    assert limits.admit("a") == ""
    assert limits.admit("a") == "too_many_connections"
    assert limits.admit("a") == "too_many_connections"
    assert limits.admit("a") == "too_many_handshakes"
    clock.now += 1
    assert limits.admit("a") == "too_many_connections"


def test_idle_addresses_are_forgotten() -> None:
    clock = Clock()
    limits = AddressLimits(connections=1, handshakes=10, byte_rate=1e6, clock=clock)
    for number in range(5000):
        clock.now += 0.2
        limits.admit(str(number))
        limits.release(str(number))
    assert len(limits._known) <= 2100
    assert not any(known.open for known in limits._known.values())


def test_a_bucket_may_go_into_debt() -> None:
    clock = Clock()
    bucket = TokenBucket(rate=2, burst=4, clock=clock)
    assert bucket.take(10)
    assert bucket.wait == 3.5
    clock.now += 3
    assert bucket.wait == 0.5
    assert not bucket.take()
    clock.now += 0.5
    assert bucket.take()


def test_no_more_tokens_are_owed_than_the_bucket_holds() -> None:
    clock = Clock()
    bucket = TokenBucket(rate=1, burst=3, clock=clock)
    assert [bucket.owe() for _ in range(7)] == [True] * 6 + [False]
    assert bucket.wait == 4
    clock.now += 1
    assert [bucket.owe() for _ in range(2)] == [True, False]


# The pace of one client.


class Stored:
    """An allowance that is never used up; `used` is the count."""

    open, is_used_up, used = True, False, 0

    def use(self, amount: int) -> None:
        self.used += amount


class Runner:
    """A client that sends as fast as it can, whose messages are tried again when `wait` says so."""

    def __init__(self, rate: float = 10, burst: float = 20, byte_rate: float = 1000, patience: float = 5) -> None:
        self.clock = Clock()
        self.address = TokenBucket(1e6, 2e6, self.clock)
        self.stored = Stored()
        self.pace = Pace(
            PaceLimits(rate, burst, byte_rate, patience), self.address, self.clock, lambda name: self.stored, ""
        )

    def send(self, size: int = 1) -> bool:
        """Send a message, and wait for its turn; returns False if it is refused."""
        while not self.pace.admits(size):
            seconds = self.pace.delay()
            if seconds is None:
                return False
            assert seconds > 0
            self.clock.now += seconds
        return True


def test_a_burst_is_served_in_the_time_that_its_rate_takes() -> None:
    runner = Runner()
    assert all(runner.send() for _ in range(60))
    assert runner.clock.now == pytest.approx(100 + 4, abs=0.02)


def test_a_client_above_its_rate_for_too_long_is_refused_until_it_slows_down() -> None:
    runner = Runner()
    sent = [runner.send() for _ in range(100)]
    assert sent.index(False) in range(70, 73)  # the burst, and five seconds
    assert not any(sent[72:])
    runner.clock.now += 0.9
    assert [runner.send() for _ in range(10)].count(True) == 9  # as many as came in time
    runner.clock.now += 3
    assert all(runner.send() for _ in range(60))


def test_a_second_burst_after_a_pause_is_delayed_like_the_first() -> None:
    runner = Runner()
    for _ in range(5):
        assert all(runner.send() for _ in range(60))
        runner.clock.now += 1.2


def test_a_slow_rate_is_waited_for_no_longer_than_the_patience() -> None:
    runner = Runner(rate=0.1, burst=1)
    assert [runner.send() for _ in range(3)] == [True, False, False]
    assert runner.clock.now == pytest.approx(105)


def test_without_patience_everything_above_the_rate_is_refused_at_once() -> None:
    runner = Runner(patience=0)
    assert [runner.send() for _ in range(22)] == [True] * 20 + [False] * 2
    assert runner.clock.now == 100


def test_only_a_client_far_above_its_rate_is_closed() -> None:
    slightly, far = Runner(patience=0), Runner(patience=0)
    for _ in range(3000):
        slightly.send()
        slightly.clock.now += 0.07
        assert not slightly.pace.overrun
    for number in range(200):
        far.send()
        far.clock.now += 0.01
        assert far.pace.overrun is (number > 150) or 120 < number <= 150


def test_a_large_message_counts_as_several() -> None:
    runner = Runner()
    assert all(runner.send(100) for _ in range(20))
    assert runner.clock.now == 100
    assert runner.send(50_000)  # fifty seconds' worth: it is served, and the next one waits
    assert runner.clock.now < 100.2
    assert not runner.send()
    runner.clock.now += 60
    assert runner.send()


def test_one_large_message_may_use_the_whole_burst() -> None:
    runner = Runner(patience=60)
    assert runner.send(50_000)
    assert runner.clock.now == 100
    assert runner.send()
    assert runner.clock.now == pytest.approx(148.1, abs=0.1)


def test_a_used_up_budget_of_the_address_delays_and_never_refuses() -> None:
    runner = Runner(byte_rate=1e9, patience=0)
    assert runner.address.take(12_000_000)
    assert runner.send()
    assert runner.clock.now == pytest.approx(110, abs=0.1)
    assert runner.send(1_000_000)
    assert not runner.pace.overrun


def test_packets_that_are_served_in_any_case_say_how_long_to_stop_reading() -> None:
    runner = Runner()
    assert [runner.pace.count(0) for _ in range(20)][:19] == [0] * 19
    assert runner.pace.count(0) > 0
    debt = [runner.pace.count(0) for _ in range(30)]
    assert debt == sorted(debt)
    assert debt[-1] == pytest.approx(3.2, abs=0.01)
    runner.clock.now += 3.3
    assert runner.pace.wait == 0
    assert not runner.pace.overrun


def test_a_large_packet_counts_as_several_and_a_part_by_its_bytes_alone() -> None:
    runner = Runner()
    assert all(runner.pace.count(0, least=0) == 0 for _ in range(1000))
    assert runner.pace.count(50_000, least=0) > 20


def test_packets_count_for_the_address_as_well() -> None:
    runner = Runner(byte_rate=1e9)
    assert runner.address.take(12_000_000)
    assert runner.pace.count(10) > 5


def test_requests_that_cannot_wait_are_counted_and_refused_at_last() -> None:
    runner = Runner()
    assert [runner.pace.charge() for _ in range(41)] == [True] * 40 + [False]
    assert not runner.pace.overrun
    assert not any(runner.pace.charge() for _ in range(101))
    assert runner.pace.overrun
    assert not runner.pace.admits(1)


# Addresses.


def test_the_connections_of_an_address_share_its_bytes() -> None:
    limits = AddressLimits(connections=2, handshakes=100, byte_rate=1e6, clock=Clock())
    assert limits.byte_budget("a") is limits.byte_budget("a")
    assert limits.byte_budget("a") is not limits.byte_budget("b")


def test_other_limits_count_from_now_on() -> None:
    runner = Runner(rate=1, burst=10)
    pace, clock = runner.pace, runner.clock
    pace.limit(PaceLimits(rate=2, burst=4, byte_rate=2000, patience=0))
    # No more at once than by the new limits.
    assert [pace.admits(1) for _ in range(5)] == [True] * 4 + [False]
    clock.now += 1
    assert [pace.admits(1) for _ in range(3)] == [True] * 2 + [False]
    # A large message counts as several: 3,000 bytes are those of three.
    clock.now += 10
    assert pace.admits(3000)
    assert [pace.admits(1) for _ in range(2)] == [True, False]


def test_a_client_may_always_send_some_messages_at_once() -> None:
    assert [burst_of(rate) for rate in (1, 5, 100)] == [10, 10, 200]
