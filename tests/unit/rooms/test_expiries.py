"""The ends of tokens: one timer for all, a warning before, and nothing that is left behind."""

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest

from relay.rooms.expiries import NOTICE, Expiries, Expiry


class Timer:
    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at, self.callback, self.canceled = at, callback, False

    def cancel(self) -> None:
        self.canceled = True


class Clock:
    """The wall clock, and a loop whose timers wait for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.pending: list[Timer] = []
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self)

    def __call__(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        self.pending.append(Timer(self.now + delay, callback))
        return self.pending[-1]

    @property
    def waiting(self) -> list[Timer]:
        return [timer for timer in self.pending if not timer.canceled]

    def fire(self) -> None:
        """Call the timer that is due first."""
        first = min(self.waiting, key=lambda timer: timer.at)
        self.pending.remove(first)
        self.now = max(self.now, first.at)
        first.callback()

    def until(self, now: float) -> None:
        """Let the time pass, and call the timers that are due, in turn."""
        while any(timer.at <= now for timer in self.waiting):
            self.fire()
        self.now = now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def log() -> list[str]:
    return []


class Holder:
    """A client that writes its notices down."""

    def __init__(self, log: list[str], name: str) -> None:
        self.log, self.name = log, name

    def token_expiring(self, seconds: float) -> None:
        self.log.append(f"{self.name} in {seconds:g}")

    def token_expired(self) -> None:
        self.log.append(f"{self.name} over")


def add(expiries: Expiries, log: list[str], name: str, ends: float) -> Expiry:
    return expiries.add(ends, Holder(log, name))


def test_a_token_is_warned_of_and_ends(clock: Clock, log: list[str]) -> None:
    expiries = Expiries(clock)
    add(expiries, log, "long", 1000 + 3 * NOTICE * 4)
    add(expiries, log, "short", 1020)
    clock.until(1014)
    assert log == []
    clock.until(1015)
    assert log == ["short in 5"]
    clock.until(1020)
    assert log == ["short in 5", "short over"]
    clock.until(2000)
    assert log[2:] == [f"long in {NOTICE:g}", "long over"]
    assert len(expiries) == 0
    assert clock.waiting == []


def test_all_tokens_share_one_timer(clock: Clock, log: list[str]) -> None:
    expiries = Expiries(clock)
    for number in range(100):
        add(expiries, log, str(number), 2000.0 - number)
    assert len(clock.waiting) == 1
    assert len(expiries) == 100


def test_a_token_that_has_ended_already_ends_in_the_next_turn(clock: Clock, log: list[str]) -> None:
    expiries = Expiries(clock)
    add(expiries, log, "old", 999.0)
    assert log == []
    clock.until(clock.now)
    assert log == ["old over"]


def test_a_canceled_expiry_is_forgotten(clock: Clock, log: list[str]) -> None:
    expiries = Expiries(clock)
    kept = add(expiries, log, "kept", 1020)
    gone = [add(expiries, log, "gone", 1020) for _ in range(1000)]
    for one in gone:
        one.cancel()
        one.cancel()
    assert kept is not None
    assert len(expiries) == 1
    assert len(expiries._heap) <= 130
    clock.until(1020)
    assert log == ["kept in 5", "kept over"]
    assert len(expiries) == 0


def test_thousands_that_end_together_take_turns(clock: Clock, log: list[str]) -> None:
    expiries = Expiries(clock)
    for _ in range(1000):
        add(expiries, log, "one", 1020)
    counts = [0]
    clock.now = 1020.0
    while clock.waiting:
        clock.fire()
        counts.append(len(log))
    assert log == ["one over"] * 1000
    assert max(after - before for before, after in pairwise(counts)) <= 200


def test_a_callback_may_cancel_its_expiry_and_add_another(clock: Clock, log: list[str]) -> None:
    expiries = Expiries(clock)

    class Refreshing(Holder):
        def token_expiring(self, seconds: float) -> None:
            super().token_expiring(seconds)
            old.cancel()
            add(expiries, log, "newer", 1100)

    old = expiries.add(1020, Refreshing(log, "old"))
    clock.until(1200)
    assert log == ["old in 5", "newer in 21.25", "newer over"]


def test_a_callback_that_fails_does_not_stop_the_others(
    clock: Clock, log: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    expiries = Expiries(clock)

    class Failing(Holder):
        def token_expired(self) -> None:
            raise ValueError("broken")

    expiries.add(1010, Failing([], "failing"))
    add(expiries, log, "next", 1010)
    clock.until(1010)
    assert log == ["next in 2.5", "next over"]
    assert "the end of a token failed" in caplog.text


def test_the_timer_looks_again_within_an_hour_as_the_clock_may_be_set(clock: Clock, log: list[str]) -> None:
    expiries = Expiries(clock)
    add(expiries, log, "late", 1000 + 30 * 86400)
    assert clock.waiting[0].at <= 1000 + 3600
    clock.now += 40 * 86400
    clock.fire()
    assert log == ["late over"]


async def test_it_runs_on_a_real_loop() -> None:
    log: list[str] = []
    add(Expiries(), log, "old", 0.0)
    async with asyncio.timeout(5):
        while not log:
            await asyncio.sleep(0)
    assert log == ["old over"]
