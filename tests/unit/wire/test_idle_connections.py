"""Idle HTTP connections: how many an address may have, and which are closed first."""

from ipaddress import ip_network

from relay.wire.gate import Gate
from relay.wire.idle_connections import IdleConnections
from relay.wire.notices import LimitNotices


class FakeConnection:
    """A connection that notes when it is closed."""

    def __init__(self) -> None:
        self.closed = False

    def close_idle(self) -> None:
        self.closed = True


def connections(idle: IdleConnections, count: int, address: str = "1.2.3.4") -> list[FakeConnection]:
    made = [FakeConnection() for _ in range(count)]
    for one in made:
        idle.add(one, address)
    return made


def test_the_oldest_idle_connection_of_an_address_is_closed_for_a_new_one() -> None:
    idle = IdleConnections(3)
    other = connections(idle, 1, "5.6.7.8")
    first, second, *rest = connections(idle, 3)
    idle.remove(first)  # a request is being answered
    assert idle.add(first, "1.2.3.4")
    assert not idle.add(FakeConnection(), "1.2.3.4")
    assert [one.closed for one in (first, second, *rest, *other)] == [False, True, False, False]
    assert len(idle) == 4
    for one in (first, second, *rest, *other):
        idle.remove(one)
    assert len(idle) == 1


def test_connections_of_load_balancers_do_not_count() -> None:
    idle = IdleConnections(1, [ip_network("10.0.0.0/8"), ip_network("fd00::/8")])
    assert [idle.name_of(host) for host in ("10.1.2.3", "fd00::1", "11.1.2.3", "::ffff:10.1.2.3")] == [
        "", "", "11.1.2.3", "",
    ]  # fmt: skip
    assert not any(one.closed for one in connections(idle, 5, ""))
    assert len(idle) == 0
    for number in range(3000):
        idle.name_of(f"12.0.{number >> 8}.{number & 255}")
    assert len(idle._known) <= 1024


def test_an_address_is_counted_by_its_network() -> None:
    idle = IdleConnections(1)
    assert idle.name_of("2001:db8::1") == idle.name_of("2001:db8::2")
    assert Gate(idle, None, LimitNotices()).name_of(None) == ""
