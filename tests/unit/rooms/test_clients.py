"""Sending clients away over a loop whose time is counted, not waited for."""

import asyncio
import functools

import pytest

from relay.model.errors import GOING_AWAY
from relay.rooms.clients import Clients


class Guest:
    """Goes when asked, when it must, or never."""

    def __init__(self, clients: Clients, when: str = "asked") -> None:
        self.clients, self.when = clients, when
        self.asked_at: list[float] = []
        clients.add(self)

    def close_gracefully(self, reason, *, now: bool = False) -> None:
        assert reason is GOING_AWAY
        self.asked_at.append(asyncio.get_running_loop().time())
        if self.when == "asked" or (now and self.when == "forced"):
            self.clients.remove(self)


def in_counted_time(test):
    """Run a test in a loop whose clock jumps to the next timer at once."""

    @functools.wraps(test)
    def run(*arguments, **named) -> None:
        loop = asyncio.new_event_loop()
        now, select = 0.0, loop._selector.select

        def jump(timeout):
            nonlocal now
            now += timeout or 0
            return select(0)

        loop.time, loop._selector.select = lambda: now, jump
        try:
            loop.run_until_complete(test(*arguments, **named))
        finally:
            loop.close()

    return run


@in_counted_time
async def test_a_few_clients_are_closed_at_once() -> None:
    clients = Clients(rate=100, timeout=10)
    guests = [Guest(clients) for _ in range(10)]
    assert await clients.drain(GOING_AWAY) == 0
    assert {moment for guest in guests for moment in guest.asked_at} == {0.0}


@in_counted_time
async def test_many_clients_are_closed_at_the_rate() -> None:
    clients = Clients(rate=100, timeout=10)
    guests = [Guest(clients) for _ in range(100)]
    await clients.drain(GOING_AWAY)
    moments = sorted(moment for guest in guests for moment in guest.asked_at)
    assert moments[0] == 0
    assert moments[-1] == pytest.approx(0.9)
    assert len({round(moment, 3) for moment in moments}) == 10


@in_counted_time
async def test_too_many_clients_for_the_rate_are_closed_in_half_of_the_time() -> None:
    clients = Clients(rate=1, timeout=10)
    guests = [Guest(clients) for _ in range(1000)]
    await clients.drain(GOING_AWAY)
    assert 4 < max(guest.asked_at[0] for guest in guests) <= 5


@in_counted_time
async def test_a_client_that_does_not_finish_is_closed_at_once() -> None:
    clients = Clients(rate=100, timeout=10)
    slow = Guest(clients, "forced")
    assert await clients.drain(GOING_AWAY) == 0
    assert slow.asked_at == [0, pytest.approx(7.5)]


@in_counted_time
async def test_clients_that_stay_are_counted() -> None:
    clients = Clients(rate=100, timeout=10)
    Guest(clients, "never")
    assert await clients.drain(GOING_AWAY) == 1
    assert asyncio.get_running_loop().time() == pytest.approx(10)


@in_counted_time
async def test_a_client_that_left_by_itself_is_not_closed() -> None:
    clients = Clients(rate=10, timeout=10)
    first, second = Guest(clients), Guest(clients)
    draining = asyncio.ensure_future(clients.drain(GOING_AWAY))
    await asyncio.sleep(0)
    clients.remove(second)
    assert await draining == 0
    assert (len(first.asked_at), second.asked_at) == (1, [])
