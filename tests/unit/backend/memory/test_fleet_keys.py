"""tests/contract/test_fleet_keys.py has the contract."""

from relay.backend.memory.fleet_keys import MemoryFleetKeys


async def test_a_record_has_the_time_at_which_it_was_made() -> None:
    keys = MemoryFleetKeys(lambda: 1.5)
    assert list(await keys.agree([], "secret")) == ["00000000001500000-secret"]
