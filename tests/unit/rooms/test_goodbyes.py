from relay.backend.memory.turns import MemoryTurns
from relay.rooms.goodbyes import REMEMBERED, Goodbyes


async def test_a_goodbye_is_remembered_for_a_while() -> None:
    now = 100.0
    turns = MemoryTurns(lambda: now)
    goodbyes = Goodbyes(turns)
    assert not await goodbyes.has("key")
    await goodbyes.note("key")
    await goodbyes.note("key")
    assert (await goodbyes.has("key"), await goodbyes.has("other")) == (True, False)
    now += REMEMBERED
    assert not await goodbyes.has("key")
    assert "key" not in "".join(turns._taken).split()
