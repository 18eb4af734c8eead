"""Which connections are taken when files run out."""

from typing import Any

from relay.wire.gate import Gate
from relay.wire.http_connections import HttpConnections
from relay.wire.idle_connections import IdleConnections
from relay.wire.notices import LimitNotices
from tests.unit.wire.test_idle_connections import FakeConnection


class FakeTransport:
    """A transport whose socket has this file number."""

    def __init__(self, number: int) -> None:
        self._number = number

    def get_extra_info(self, name: str) -> Any:
        return self

    def fileno(self) -> int:
        return self._number


def test_where_files_run_out_the_oldest_idle_connection_makes_room() -> None:
    noted: list[str] = []
    idle = IdleConnections(10)
    gate = Gate(idle, 100, LimitNotices(noted.append))
    first, second, last = (FakeConnection() for _ in range(3))
    admit: Any = gate.admits
    assert admit(first, FakeTransport(99), "a")
    assert noted == []
    assert admit(second, FakeTransport(100), "b")
    assert (first.closed, noted) == (True, ["descriptors"])
    gate.busy(second)
    assert not admit(last, FakeTransport(101), "c")
    assert len(idle) == 0
    assert Gate(idle, None, LimitNotices()).admits(last, FakeTransport(10**6), "c")  # type: ignore[arg-type]


def test_where_too_many_connections_are_open_the_oldest_idle_one_makes_room() -> None:
    opened: set[object] = set()
    gate = Gate(IdleConnections(10), 100, LimitNotices(), opened)
    admit: Any = gate.admits
    first, second = FakeConnection(), FakeConnection()
    opened.update(range(100))
    assert admit(first, FakeTransport(5), "a")
    assert not first.closed
    opened.add(100)
    assert admit(second, FakeTransport(5), "a")
    assert first.closed


def test_an_address_above_its_bound_is_noted() -> None:
    noted: list[str] = []
    gate = Gate(IdleConnections(1), None, LimitNotices(noted.append))
    gate.idle(FakeConnection(), "a")
    gate.idle(FakeConnection(), "a")
    assert noted == ["idle_connections"]


def test_an_address_does_not_hold_more_connections_by_requests_that_wait() -> None:
    noted: list[str] = []
    gate = Gate(IdleConnections(10), None, LimitNotices(noted.append), http=HttpConnections(2))
    admit: Any = gate.admits
    first, second, third = (FakeConnection() for _ in range(3))
    for one in (first, second):
        assert admit(one, FakeTransport(5), "a")
        gate.busy(one)
    assert not admit(third, FakeTransport(5), "a")
    assert noted == ["http_connections"]
    gate.end(third)
    gate.end(first)
    assert admit(third, FakeTransport(5), "a")


def test_a_connection_whose_response_is_held_counts_until_it_ends() -> None:
    gate = Gate(IdleConnections(10), None, LimitNotices(), http=HttpConnections(1))
    admit: Any = gate.admits
    first, held, second = FakeConnection(), object(), FakeConnection()
    assert admit(first, FakeTransport(5), "a")
    gate.busy(first)
    gate.hand_over(first, held)
    gate.end(first)
    assert not admit(second, FakeTransport(5), "a")
    gate.held_ended(held)
    assert admit(second, FakeTransport(5), "a")
    without_bound = Gate(IdleConnections(10), None, LimitNotices())
    without_bound.hand_over(first, held)
    without_bound.held_ended(held)
