"""Rates by address."""

import asyncio

import pytest

from relay.address_rates import AddressRates, RequestRate
from relay.model.errors import Refused


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_address_has_its_own_rate() -> None:
    rates = AddressRates(1, 2, Clock())
    assert [rates.of("a").take() for _ in range(3)] == [True, True, False]
    assert rates.of("b").take()
    assert rates.known("a") is rates.of("a")
    assert rates.known("c") is None


def test_idle_addresses_are_forgotten() -> None:
    clock = Clock()
    rates = AddressRates(1, 2, clock)
    for number in range(1024):
        rates.of(f"address {number}").take()
    clock.now += 1
    rates.of("busy").take()
    assert len(rates) == 1
    for number in range(3000):
        rates.of(f"other {number}").take()
    assert len(rates) == 3001


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that requests waited."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(round(seconds, 6))

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return found


async def test_requests_above_the_rate_wait_and_then_are_refused(waits: list[float]) -> None:
    clock = Clock()
    rate = RequestRate(10, clock)
    for _ in range(5):
        await rate.admit("a")
    assert waits == []
    for _ in range(20):
        await rate.admit("a")
    assert waits == [round(number / 10, 6) for number in range(1, 21)]
    del waits[:]
    with pytest.raises(Refused, match="too_many_requests"):
        await rate.admit("a")
    # An attacker waits for its refusals as well.
    assert waits == [1.0]
    await rate.admit("b")
    clock.now += 0.1
    await rate.admit("a")
    assert waits == [1.0, 2.0]
    clock.now += 10
    await rate.admit("a")
    assert len(waits) == 2


async def test_checks_of_a_load_balancer_wait_shortly_and_are_never_refused(waits: list[float]) -> None:
    clock = Clock()
    rate = RequestRate(10, clock)
    for _ in range(100):
        await rate.slow_down("a")
    assert waits == [0.25] * 95
    clock.now += 0.1
    await rate.slow_down("a")
    await rate.admit("a")
    assert len(waits) == 95


async def test_a_school_behind_one_address_that_loads_pages_at_once_is_not_refused(waits: list[float]) -> None:
    """500 pages with three files each within a second, at the default rate."""
    clock = Clock()
    rate = RequestRate(500, clock)
    for _ in range(1500):
        await rate.admit("school")
        clock.now += 1 / 1500
    assert max(waits, default=0) <= 2
