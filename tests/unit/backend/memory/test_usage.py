"""The usage of addresses without Redis."""

from relay.backend.memory.usage import MemoryAddressUsage


def test_there_is_no_other_worker_to_hear_of() -> None:
    told: list[int] = []
    usage = MemoryAddressUsage(lambda: 12.5)
    usage.add("rooms", "address", 0, 1, told.append)
    assert (told, usage.now()) == ([], 12_500)
