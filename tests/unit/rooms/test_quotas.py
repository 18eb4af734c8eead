"""Quotas by address and minute, over all workers of a fleet."""

from collections.abc import Callable

import pytest

from relay.rooms import quotas as module
from relay.rooms.quotas import Quotas


class Fleet:
    """The usage that workers share, at a time that the test sets."""

    def __init__(self) -> None:
        self.ms = 60_000_000
        self.counts: dict[tuple[str, str, int], int] = {}
        self.calls = 0

    def now(self) -> int:
        return self.ms

    def add(
        self, kind: str, address: str, period: int, amount: int, told: Callable[[int], None], *, length: int
    ) -> None:
        self.calls += 1
        key = kind, address, period
        self.counts[key] = self.counts.get(key, 0) + amount
        told(self.counts[key])


def quotas(fleet: Fleet, most: int = 3, step: int = 1) -> Quotas:
    return Quotas("rooms", most, fleet, step=step, use="new rooms", setting="new-rooms-per-address")


def open_room(worker: Quotas, address: str = "a") -> bool:
    quota = worker.of(address)
    if quota.reserve():
        quota.use_reserved()
        return True
    return False


def test_an_address_may_use_so_much_in_a_minute() -> None:
    fleet = Fleet()
    worker = quotas(fleet)
    assert [open_room(worker) for _ in range(4)] == [True] * 3 + [False]
    assert open_room(worker, "other")
    fleet.ms += 60_000
    assert open_room(worker)


def test_a_reservation_counts_until_it_is_given_back() -> None:
    quota = quotas(Fleet()).of("a")
    assert [quota.reserve() for _ in range(4)] == [True] * 3 + [False]
    quota.give_back()
    assert [quota.reserve(), quota.reserve()] == [True, False]


def test_twenty_workers_allow_no_more_than_one_and_one_step_each() -> None:
    fleet = Fleet()
    workers = [quotas(fleet, most=10) for _ in range(20)]
    opened = [sum(open_room(worker) for _ in range(100)) for worker in workers]
    assert opened == [10] + [1] * 19


def test_use_is_reported_in_steps_and_counts_at_once() -> None:
    fleet = Fleet()
    worker = quotas(fleet, most=1000, step=100)
    quota = worker.of("a")
    for _ in range(25):
        quota.use(10)
    assert fleet.calls == 2
    assert quota.open
    quota.use(2000)
    assert (quota.open, quota.is_used_up) == (False, True)
    fleet.ms += 60_000
    assert (quota.open, quota.is_used_up, quota.open) == (False, False, True)


def test_a_client_without_an_address_has_no_limit_and_is_not_reported() -> None:
    fleet = Fleet()
    worker = quotas(fleet)
    assert all(open_room(worker, "") for _ in range(100))
    assert fleet.calls == 0


def test_an_operator_learns_which_address_it_is_but_not_all_the_time(caplog: pytest.LogCaptureFixture) -> None:
    fleet = Fleet()
    worker = quotas(fleet, most=1)
    for _ in range(50):
        open_room(worker, "2001:db8::/64")
    assert len(caplog.records) == 1
    assert "2001:db8::/64 has used up its new rooms for now (1)" in caplog.text
    assert "raise new-rooms-per-address" in caplog.text


def test_addresses_of_past_minutes_are_forgotten() -> None:
    fleet = Fleet()
    worker = quotas(fleet)
    for number in range(1024):
        worker.of(str(number)).use(1)
    kept = worker.of("0")
    fleet.ms += 60_000
    kept.use(1)
    worker.of("new")
    assert worker.of("0") is kept
    assert len(worker._known) == 2


def test_the_addresses_of_a_long_period_are_bounded_and_no_use_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A period may take a day, in which clients may come from as many addresses as they have."""
    monkeypatch.setattr(module, "_MOST", 100)
    fleet = Fleet()
    worker = quotas(fleet, most=1000, step=100)
    worker.of("a").use(990)
    worker.of("a").use(9)
    for number in range(1000):
        worker.of(str(number)).use(1)
    assert len(worker._known) == 100
    # The forgotten use was reported, also the part of it that was less than a step.
    assert fleet.counts["rooms", "a", 1000] == 999
    assert worker.of("a").open
    worker.of("a").use(100)
    assert worker.of("a").is_used_up
