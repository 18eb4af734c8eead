import time
from typing import Any

import pytest

from relay.backend.memory.bus import MemoryBus
from relay.backend.memory.state import MemoryRooms
from relay.backend.settings import HistorySettings
from relay.model.commands import NO_IDENTITY, Publish
from relay.model.errors import NotMember, Refused, RelayError
from relay.model.events import Message
from relay.model.publication import Publication, Receipt


def world() -> tuple[MemoryBus, MemoryRooms, list[Any]]:
    rooms, events = MemoryRooms(time.monotonic, time.time, HistorySettings()), list[Any]()
    return MemoryBus(events.extend, rooms, HistorySettings()), rooms, events


def publish(bus: MemoryBus, command: Publish, **more: Any) -> Receipt | RelayError:
    outcome: list[Receipt | RelayError] = []
    bus.publish(Publication(command, "room", "peer", **more), outcome.append)
    return outcome[0]


async def test_the_outcome_is_known_at_once_and_the_event_comes_in_the_next_turn() -> None:
    bus, rooms, events = world()
    await bus.subscribe(["room"])
    receipt = publish(bus, Publish(b'{"n":1}', channel="c"))
    assert isinstance(receipt, Receipt)
    assert events == []
    rooms._flush()
    assert events == [Message("room", receipt.id, "peer", (), "c", b'{"n":1,"from":"peer","id":"%s"' % receipt.text)]


@pytest.mark.parametrize(
    ("command", "more", "error"),
    [
        (Publish(b"{}"), {"generation": 1}, NotMember),
        (Publish(b"{}", after="k"), {}, Refused),
        (Publish(b"{}", to=("absent",)), {}, Refused),
    ],
)
async def test_a_refused_publication_takes_no_id(command: Publish, more: dict[str, Any], error: type) -> None:
    bus, rooms, _ = world()
    assert isinstance(publish(bus, command, **more), error)
    assert rooms.room("room").seq == 0


async def test_a_key_counts_only_for_a_command_that_is_sent_once() -> None:
    bus, _, _ = world()
    assert not publish(bus, Publish(b"{}", key="k", identity=NO_IDENTITY)).repeat
    assert not publish(bus, Publish(b"{}", key="k")).repeat
    assert publish(bus, Publish(b"{}", key="k")).repeat
    assert not publish(bus, Publish(b"{}", key="k", identity=NO_IDENTITY)).repeat


async def test_closing_ends_all_subscriptions() -> None:
    bus, rooms, events = world()
    async with bus:
        await bus.subscribe(["room"])
        assert bus.health().ready
    publish(bus, Publish(b"{}"))
    rooms._flush()
    assert events == []
