"""Addresses without Redis: there are none."""

from relay.backend.memory.addresses import MemoryAddresses


async def test_there_are_none_and_the_time_is_that_of_this_machine() -> None:
    addresses = MemoryAddresses(lambda: 1234.5678)
    assert await addresses.find("owner-0") == ""
    assert addresses.now() == 1_234_568
