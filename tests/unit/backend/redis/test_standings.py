"""The contract tests have the rest, over a real Redis."""

from relay.backend.redis.keys import Keys
from relay.backend.redis.standings import standings
from relay.model.standing import Standing
from tests.unit.backend.redis.test_vouching import FewReplies


async def test_each_member_stands_by_its_entry_and_the_lease_of_its_worker() -> None:
    client = FewReplies(b"1 w/1 0 - - 1-1", None, b"2 w/2 900 - - 1-1", [b"6000", None])
    found = await standings(client, Keys("relay"), "room", ["ann", "ben", "cem"])  # type: ignore[arg-type]
    assert found == {"ann": Standing(held=False, lease_end=6000), "cem": Standing(held=True, lease_end=0)}


async def test_without_members_no_lease_is_read() -> None:
    assert await standings(FewReplies(None), Keys("relay"), "room", ["ann"]) == {}  # type: ignore[arg-type]
