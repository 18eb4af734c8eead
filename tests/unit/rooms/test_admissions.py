"""Tickets: the counts while a client is admitted, and that each is made once."""

import pytest

from relay.backend.memory.usage import MemoryAddressUsage
from relay.limits import AddressLimits, PaceLimits
from relay.metrics import Metrics
from relay.model.errors import Refused
from relay.rooms.admissions import Admissions
from relay.rooms.quotas import Quotas
from tests.unit.rooms.buffering import make_buffers


class World:
    def __init__(self, *, most: int = 3, connections: int = 2, handshakes: int = 4) -> None:
        self.metrics = Metrics()
        limits = AddressLimits(connections, handshakes, 100_000, lambda: 0.0)
        pace = PaceLimits(rate=1, burst=10, byte_rate=1_000_000, patience=5)
        stored = Quotas("bytes", 10_000, MemoryAddressUsage(lambda: 0.0), use="bytes", setting="address-history-bytes")
        buffers = make_buffers(metrics=self.metrics)
        self.admissions = Admissions(limits, pace, stored, buffers, most=most, metrics=self.metrics, clock=lambda: 0.0)

    def code(self, address: str) -> str:
        with pytest.raises(Refused) as refused:
            self.admissions.admit(address, "native")
        return refused.value.code

    @property
    def counted(self) -> tuple[int, int]:
        return len(self.admissions), self.metrics.of("native").connections


def test_a_client_counts_until_its_ticket_is_released() -> None:
    world = World()
    ticket = world.admissions.admit("a", "native")
    assert (ticket.address, ticket.metrics.protocol) == ("a", "native")
    assert world.counted == (1, 1)
    ticket.release()
    assert world.counted == (0, 0)


def test_an_address_has_its_own_limits() -> None:
    world = World()
    tickets = [world.admissions.admit("a", "native") for _ in range(2)]
    assert world.code("a") == "too_many_connections"
    tickets[0].release()
    world.admissions.admit("a", "native")
    assert world.code("a") == "too_many_handshakes"
    world.admissions.admit("b", "native")


def test_a_full_worker_refuses_and_counts_no_handshake_for_that() -> None:
    world = World(most=1, handshakes=2)
    ticket = world.admissions.admit("a", "native")
    assert [world.code("a") for _ in range(5)] == ["worker_full"] * 5
    ticket.release()
    world.admissions.admit("a", "native")


def test_a_ticket_is_released_once() -> None:
    world = World(connections=2)
    first, second = world.admissions.admit("a", "native"), world.admissions.admit("a", "native")
    first.release()
    first.release()
    assert world.counted == (1, 1)
    second.release()
    assert world.counted == (0, 0)


def test_a_handshake_that_fails_releases_its_ticket_and_one_that_succeeds_does_not() -> None:
    world = World()
    with pytest.raises(OSError), world.admissions.admit("a", "native"):
        raise OSError
    assert world.counted == (0, 0)
    with world.admissions.admit("a", "native"):
        pass
    assert world.counted == (1, 1)


def test_connections_are_counted_by_protocol() -> None:
    world = World()
    native, other = world.admissions.admit("a", "native"), world.admissions.admit("b", "other")
    native.release()
    value = world.metrics.registry.get_sample_value
    assert [value("relay_connections", {"protocol": name}) for name in ("native", "other")] == [0, 1]
    other.release()
    assert value("relay_connections", {"protocol": "other"}) == 0


def test_a_client_has_one_pace_and_shares_the_bytes_of_its_address() -> None:
    world = World()
    first, second, third = (world.admissions.admit(address, "native") for address in "aab")
    assert first.pace() is first.pace()
    assert first.pace() is not second.pace()
    assert first.pace().admits(20_000)
    assert second.pace().admits(150_000)  # the budget of the address is in debt now
    assert not second.pace().admits(1)
    assert third.pace().admits(1)


def test_messages_that_are_served_after_the_end_still_have_a_pace() -> None:
    ticket = World().admissions.admit("a", "native")
    ticket.release()
    assert ticket.pace().admits(1)


def test_a_token_may_set_the_rate_of_its_client() -> None:
    admissions = World().admissions
    ticket, other = admissions.admit("a", "native"), admissions.admit("b", "native")
    # Most clients have no such token, and send nothing yet: they have no pace.
    other.limit_messages(None)
    assert other._pace is None
    ticket.limit_messages(100)
    assert [ticket.pace().admits(1) for _ in range(12)] == [True] * 10 + [False] * 2
    assert (ticket.pace()._rate, ticket.pace()._burst) == (100, 200)
    ticket.limit_messages(None)
    assert (ticket.pace()._rate, ticket.pace()._burst) == (1, 10)


def test_of_the_rates_of_several_tokens_of_a_client_the_lowest_one_counts() -> None:
    ticket = World().admissions.admit("a", "native")

    def rate_after(rate: float | None, session: int) -> float:
        ticket.limit_messages(rate, session)
        return ticket.pace()._rate

    assert rate_after(5, 1) == 5
    # Neither a token without a rate nor one with a higher rate lifts it, for another session.
    assert [rate_after(None, 2), rate_after(100, 2), rate_after(2, 3), rate_after(None, 3)] == [5, 5, 2, 5]
    assert [rate_after(20, 1), rate_after(None, 1), rate_after(None, 2)] == [20, 100, 1]


def test_messages_without_a_connection_count_for_their_address() -> None:
    admissions = World().admissions
    # The address may send 25,000 bytes at once, and 10,000 that are stored a minute.
    assert [admissions.charge("a", 4_000) for _ in range(4)] == [True] * 3 + [False]
    assert admissions.charge("b", 4_000)
    assert [admissions.charge("c", 30_000), admissions.charge("c", 1)] == [True, False]
