"""Wrong secrets of an address: each kind has a count of its own, and another minute begins anew."""

from relay.address_rates import WITHOUT_ADDRESS
from relay.backend.memory.usage import MemoryAddressUsage
from relay.rooms.guesses import Guesses


def test_an_address_is_held_after_as_many_as_it_may_offer() -> None:
    now = 0.0
    guesses = Guesses(2, MemoryAddressUsage(lambda: now))
    for _ in range(2):
        assert not guesses.are_too_many("door", "192.0.2.1")
        guesses.note("door", "192.0.2.1")
    assert guesses.are_too_many("door", "192.0.2.1")
    assert not guesses.are_too_many("gate", "192.0.2.1")
    assert not guesses.are_too_many("door", "192.0.2.2")
    now = 60.0
    assert not guesses.are_too_many("door", "192.0.2.1")


def test_clients_without_an_address_may_offer_more_together_and_not_any_number() -> None:
    guesses = Guesses(2, MemoryAddressUsage(lambda: 0.0))
    for _ in range(2 * WITHOUT_ADDRESS):
        assert not guesses.are_too_many("door", "")
        guesses.note("door", "")
    assert guesses.are_too_many("door", "")
    assert not guesses.are_too_many("door", "192.0.2.1")
