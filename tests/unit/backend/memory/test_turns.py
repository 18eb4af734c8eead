"""Turns without Redis."""

from relay.backend.memory.turns import MemoryTurns


async def test_a_turn_lasts_for_its_time() -> None:
    now = [0.0]
    turns = MemoryTurns(lambda: now[0])
    assert [await turns.take("a", 30), await turns.take("a", 30), await turns.take("b", 30)] == [True, False, True]
    now[0] = 30.0
    assert await turns.take("a", 30)


async def test_a_value_lasts_for_its_time() -> None:
    now = [0.0]
    turns = MemoryTurns(lambda: now[0])
    await turns.share("a", b"x", 10)
    assert await turns.shared("a") == b"x"
    now[0] = 10.0
    assert await turns.shared("a") == b""


async def test_turns_that_are_over_are_forgotten_when_there_are_many() -> None:
    now = [0.0]
    turns = MemoryTurns(lambda: now[0])
    for number in range(3000):
        now[0] = float(number)
        assert await turns.take(f"room {number}", 10)
    assert not await turns.take("room 2999", 10)
    assert len(turns._taken) <= 1025
