import asyncio

from relay.rooms.throttle import Throttle


async def test_at_most_eight_begin_in_one_turn_and_in_order() -> None:
    pacer, begun, turns = Throttle(), [], []
    for number in range(20):
        pacer.add(lambda number=number: begun.append(number))
    while len(begun) < 20:
        await asyncio.sleep(0)
        turns.append(len(begun))
    assert turns == [8, 16, 20]
    assert begun == list(range(20))


async def test_what_is_added_meanwhile_waits_its_turn() -> None:
    pacer, begun = Throttle(), []
    pacer.add(lambda: pacer.add(lambda: begun.append("second")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert begun == ["second"]
