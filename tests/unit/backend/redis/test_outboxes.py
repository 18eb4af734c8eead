"""The rooms that are noted for the webhook, by the replies of their scripts."""

import asyncio
from typing import Any

import pytest

from relay.backend.redis.keys import Keys
from relay.backend.redis.outboxes import RedisOutboxes
from relay.backend.webhooks import Outboxes
from relay.model.errors import OutcomeUnknown, Unavailable


class FakeRegistration:
    """Records the rooms."""

    def __init__(self) -> None:
        self.rooms: list[str] = []

    def register(self, rooms: list[str]) -> None:
        self.rooms += rooms


def outboxes_with(noted: Outboxes | None) -> tuple[RedisOutboxes, FakeRegistration]:
    registration: Any = FakeRegistration()
    return RedisOutboxes(Keys("relay"), registration, noted, ttl=5000), registration


async def test_without_a_webhook_nothing_is_added() -> None:
    outboxes, registration = outboxes_with(None)
    assert outboxes.extend("r", ("a", "b"), "left") == (("a", "b"), "")
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    outboxes.watch("r", done)
    outboxes.register("r")
    outboxes.take_over(["r"])
    done.set_result(1)
    await asyncio.sleep(0)
    assert not registration.rooms


async def test_a_script_gets_the_outbox_as_its_last_key_and_a_text_without_spaces() -> None:
    outboxes, registration = outboxes_with(Outboxes())
    keys, hook = outboxes.extend("r", ("a", "b"), "a b\n/ß")
    assert keys == ("a", "b", "relay:{r}:outbox")
    assert hook == "1000 5000 a%20b%0A%2F%C3%9F"
    outboxes.register("r")
    assert registration.rooms == ["r"]


@pytest.mark.parametrize(
    ("outcome", "noted"), [(1, False), (2, True), (OutcomeUnknown(), True), (Unavailable(), False), (None, True)]
)
async def test_a_room_is_noted_once_its_script_may_have_written(outcome: Any, noted: bool) -> None:
    rooms = Outboxes()
    outboxes, _ = outboxes_with(rooms)
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    outboxes.watch("r", done, lambda result: result == 2)
    await asyncio.sleep(0)
    assert not rooms
    if outcome is None:
        done.cancel()
    elif isinstance(outcome, Exception):
        done.set_exception(outcome)
        done.exception()
    else:
        done.set_result(outcome)
    await asyncio.sleep(0)
    assert ("r" in rooms) is noted


async def test_rooms_of_a_dead_worker_are_noted() -> None:
    rooms = Outboxes()
    outboxes_with(rooms)[0].take_over(["a", "b"])
    assert len(rooms) == 2
