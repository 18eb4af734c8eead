"""One timer for all pings; time is the event loop's, with short intervals, and every wait is for an event."""

import asyncio
import tracemalloc
from collections.abc import Callable

import pytest

from relay.rooms import keepalive as keepalives
from relay.rooms.connection import Transfer
from relay.rooms.keepalive import Keepalive, KeepaliveTiming, close_unless_busy


class Client:
    def __init__(self) -> None:
        self.keepalive_slot = 0
        self.watched = False
        self.calls: asyncio.Queue[str] = asyncio.Queue()

    def ping(self) -> None:
        self.calls.put_nowait("ping")

    def check(self) -> None:
        self.calls.put_nowait("check")

    async def next(self) -> str:
        async with asyncio.timeout(5):
            return await self.calls.get()


async def test_every_ping_is_followed_by_a_check_again_and_again() -> None:
    keepalive, client = Keepalive(KeepaliveTiming(0.04, 0.02, 0.04)), Client()
    keepalive.add(client)
    assert [await client.next() for _ in range(5)] == ["ping", "check", "ping", "check", "ping"]
    keepalive.remove(client)


async def test_a_timeout_longer_than_the_interval_is_waited_for() -> None:
    keepalive, client = Keepalive(KeepaliveTiming(0.02, 0.1, 0.02)), Client()
    keepalive.add(client)
    calls = [await client.next() for _ in range(12)]
    assert calls[:3] == ["ping"] * 3
    assert "check" in calls
    keepalive.remove(client)


async def test_the_first_ping_comes_after_a_whole_interval() -> None:
    loop = asyncio.get_running_loop()
    keepalive, client = Keepalive(KeepaliveTiming(0.2, 0.2, 0.2)), Client()
    begun = loop.time()
    keepalive.add(client)
    assert await client.next() == "ping"
    assert loop.time() - begun >= 0.2 * 7 / 8
    keepalive.remove(client)


async def test_a_removed_connection_is_neither_pinged_nor_checked_and_the_timer_rests() -> None:
    keepalive, gone, here = Keepalive(KeepaliveTiming(0.02, 0.02, 0.02)), Client(), Client()
    keepalive.add(gone)
    keepalive.add(here)
    assert await gone.next() == "ping"
    keepalive.remove(gone)
    keepalive.remove(gone)
    assert [await here.next() for _ in range(4)] == ["ping", "check", "ping", "check"]
    assert gone.calls.empty()
    keepalive.remove(here)
    async with asyncio.timeout(5):
        while keepalive._timer is not None:
            await asyncio.sleep(0.005)
    keepalive.add(here)
    assert await here.next() == "ping"
    keepalive.remove(here)


async def test_a_watched_connection_is_pinged_in_between_and_checked_before_each_ping() -> None:
    keepalive = Keepalive(KeepaliveTiming(0.6, 0.5, 0.15))
    watched, other = Client(), Client()
    watched.watched = True
    keepalive.add(watched)
    keepalive.add(other)
    assert await other.next() == "ping"
    calls = [watched.calls.get_nowait() for _ in range(watched.calls.qsize())]
    # Four pings in the interval of the other one; the last may be of the same tick.
    assert len(calls) in {6, 7, 8}
    assert calls == ["ping", "check"] * (len(calls) // 2) + ["ping"] * (len(calls) % 2)
    keepalive.remove(watched)
    keepalive.remove(other)


async def test_a_connection_that_comes_to_be_watched_is_pinged_soon() -> None:
    loop = asyncio.get_running_loop()
    keepalive, client = Keepalive(KeepaliveTiming(60, 60, 0.1)), Client()
    keepalive.add(client)
    client.watched = True
    begun = loop.time()
    assert [await client.next() for _ in range(3)] == ["ping", "check", "ping"]
    assert loop.time() - begun < 30
    keepalive.remove(client)


async def test_a_shorter_interval_leaves_watched_connections_their_time_to_answer() -> None:
    keepalive, client = Keepalive(KeepaliveTiming(0.05, 60, 60)), Client()
    client.watched = True
    keepalive.add(client)
    assert [await client.next() for _ in range(5)] == ["ping"] * 5
    keepalive.remove(client)


@pytest.mark.parametrize("timing", [(25, 20, 8), (25, 20, 60), (5, 60, 1), (0.05, 0.05, 0.05), (86_400, 1, 0.05)])
def test_any_settings_make_a_keepalive(timing: tuple[float, float, float]) -> None:
    Keepalive(KeepaliveTiming(*timing))


async def test_a_connection_whose_ping_fails_does_not_stop_the_pings_of_others(caplog) -> None:
    class Broken(Client):
        def ping(self) -> None:
            raise ZeroDivisionError

        check = ping

    keepalive, client, broken = Keepalive(KeepaliveTiming(0.04, 0.02, 0.04)), Client(), Broken()
    keepalive.add(broken)
    keepalive.add(client)
    assert [await client.next() for _ in range(5)] == ["ping", "check", "ping", "check", "ping"]
    assert "a ping failed" in caplog.text
    keepalive.remove(client)
    keepalive.remove(broken)


# Clients behind large messages.


class Download:
    """A client that takes `steps` bytes between two looks, and `alive` is whether it has answered."""

    def __init__(self, waiting: int, steps: list[int]) -> None:
        self.received = 0
        self.written = waiting
        self.alive = False
        self.closed = asyncio.Event()
        self.asked = asyncio.Event()
        self.looks = 0
        self._steps = steps

    def transfer(self) -> Transfer | None:
        if self.looks:
            self.received += self._steps.pop(0)
        self.looks += 1
        return Transfer(self.written, self.received)

    def is_alive(self) -> bool:
        self.asked.set()
        return self.alive


@pytest.mark.parametrize("transfer", [None, Transfer(100_000, 100_000), Transfer(100_000, 99_000), Transfer(1, 0)])
def test_a_client_that_little_waits_for_is_closed_at_once(transfer: Transfer | None) -> None:
    closed: list[bool] = []
    close_unless_busy(lambda: transfer, lambda: False, lambda: closed.append(True))
    assert closed


async def test_a_client_that_takes_a_large_message_has_time_until_it_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepalives, "_LOOK_AGAIN", 0.001)
    client = Download(1_500_000, [500_000, 900_000, 100_000, 0])
    close_unless_busy(client.transfer, client.is_alive, client.closed.set)
    assert not client.closed.is_set()
    await asyncio.wait_for(client.closed.wait(), 5)
    assert client.looks == 5


async def test_a_client_that_answers_behind_a_large_message_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepalives, "_LOOK_AGAIN", 0.001)
    client = Download(1_500_000, [0])
    close_unless_busy(client.transfer, client.is_alive, client.closed.set)
    client.alive = True
    await asyncio.wait_for(client.asked.wait(), 5)
    assert not client.closed.is_set()
    assert client.looks == 1


class Timer:
    """An event loop with a time of its own: it keeps the last timer, and runs it when it is told to."""

    def __init__(self) -> None:
        self.now = self.when = 0.0
        self._callback: Callable[[], None] = lambda: None

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        self.when, self._callback = when, callback

    def run(self, late: float = 0) -> None:
        self.now = self.when + late
        self._callback()


def test_the_pings_of_clients_that_came_one_after_the_other_are_not_sent_in_one_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timer = Timer()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: timer)
    keepalive = Keepalive(KeepaliveTiming(25, 20, 8))
    clients = list[Client]()
    # A thousand clients in ten seconds.
    for number in range(1000):
        clients.append(Client())
        keepalive.add(clients[-1])
        while timer.now < number / 100:
            timer.run()
    pinged, most = 0, 0
    while pinged < len(clients):
        timer.run()
        before, pinged = pinged, sum(not client.calls.empty() for client in clients)
        most = max(most, pinged - before)
    assert most <= 3


def test_a_late_tick_delays_no_other_one_and_missed_ones_are_not_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    timer, client = Timer(), Client()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: timer)
    Keepalive(KeepaliveTiming(25, 20, 8)).add(client)
    for _ in range(10):
        timer.run(late=0.015)
    assert timer.when == pytest.approx(11 * 0.02)
    timer.run(late=5)
    assert timer.when == timer.now
    timer.run()
    assert timer.when == pytest.approx(timer.now + 0.02)


def test_a_wheel_that_turned_for_many_connections_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    timer = Timer()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: timer)
    keepalive, clients = Keepalive(KeepaliveTiming(25, 20, 8)), [Client() for _ in range(50)]
    for client in clients:
        keepalive.add(client)
        timer.run()
    for client in clients:
        keepalive.remove(client)
        keepalive.remove(client)
    assert keepalive._slots == {}


def test_a_long_timeout_costs_no_memory() -> None:
    tracemalloc.start()
    keepalive = Keepalive(KeepaliveTiming(25, 86_400, 8))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert keepalive
    assert used < 200_000
