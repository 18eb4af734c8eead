"""tests/contract/test_waiting.py has the contract."""

from relay.backend.memory.waiting import MemoryWaitingMessages
from relay.backend.waiting import WAITING_TTL
from relay.model.waiting import WaitingMessage


async def test_messages_of_all_rooms_end_with_their_time_to_live() -> None:
    now = 0.0
    waiting = MemoryWaitingMessages(lambda: now)
    for room in ("a", "b"):
        for key, seconds in (("short", 1.0), ("long", 5.0)):
            await waiting.keep(room, WaitingMessage("ann", "bob", key, b"{}", seconds))
    now = WAITING_TTL + 2
    assert [(one.key, one.seconds) for one in await waiting.of("a", "bob")] == [("long", 3 - WAITING_TTL)]
    now = WAITING_TTL + 6
    assert await waiting.of("b", "ann") == []
    assert waiting._rooms == {}
