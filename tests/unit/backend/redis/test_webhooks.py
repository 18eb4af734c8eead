"""The entries of the queue in Redis, as they are read. The contract tests have the queue itself."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from relay.backend.redis.keys import Keys
from relay.backend.redis.webhooks import RedisWebhookQueue
from relay.backend.settings import WebhookQueueSettings
from relay.backend.webhooks import PartlyMoved, WebhookBatch
from relay.model.errors import OutcomeUnknown, Unavailable


class FakeClient:
    """Answers each script with the next reply, and records its arguments."""

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies)
        self.calls: list[tuple[Any, ...]] = []

    async def run(self, script: Any, keys: Any, *arguments: Any) -> Any:
        self.calls.append((script.name, keys, *arguments))
        return self.replies.pop(0)


def queue_over(client: Any) -> RedisWebhookQueue:
    return RedisWebhookQueue(client, Keys("relay"), "w", WebhookQueueSettings(1000, claim=2), lambda _: None)


def entry(number: int, text: bytes, room: bytes = b"r") -> list[Any]:
    return [b"5-%d" % number, [b"r", room, b"e", text]]


async def test_entries_are_read_and_those_of_another_program_left_out(caplog: pytest.LogCaptureFixture) -> None:
    entries = [
        entry(1, b"o 7-1 123 p +"),
        entry(2, b'j 7-1 123 p - a%20b {"x":"a\x1fb"}'),
        entry(3, b"l 7-2 124 p lost"),
        entry(4, b"c 7-2 124 p -"),
        entry(5, b"x 7-2 124 p -"),
        entry(6, b"l 7-2 soon p -"),
        entry(7, b"nonsense"),
        [b"5-8", [b"f", b"v"]],
    ]
    client = FakeClient([0, b"", entries, 8])
    batch = await queue_over(client).take(10)
    assert batch is not None
    opened, joined, left, closed = batch.events
    assert (opened.type, opened.restored, closed.type, left.reason) == ("room_opened", True, "room_closed", "lost")
    assert (joined.info, joined.subject, joined.restored, joined.time) == (b'{"x":"a b"}', "a b", False, 123)
    assert (batch.last, batch.queued) == ("5-8", 8)
    assert len([one for one in caplog.records if one.levelno == logging.ERROR]) == 4


async def test_sent_events_are_removed_up_to_the_last_entry() -> None:
    client = FakeClient([], [0, b"", [], 0])
    queue = queue_over(client)
    assert await queue.take(10) is None
    await queue.take(10, done=WebhookBatch(last="5-8", notice="9-1"))
    name, keys, worker, claim, most, _, after, notice, _ = client.calls[1]
    assert (name, claim, most, after, notice) == ("hook_take", 2000, 10, "5-8", "9-1")
    assert worker == client.calls[0][2]
    assert len({key[key.index("{") :].partition("}")[0] for key in keys}) == 1


class Shards:
    """A cluster in which rooms are away, or refuse writes, as their names say."""

    clustered = True

    def __init__(self) -> None:
        self.added: list[Any] = []
        self.removed: list[str] = []
        self.asked: list[str] = []

    def at_room(self, room: str) -> Any:
        return SimpleNamespace(reachable=not room.startswith("away"))

    async def call(self, command: str, key: str, *arguments: Any) -> Any:
        self.asked.append(key)
        if "silent" in key:
            raise OutcomeUnknown
        return [] if "empty" in key else [b"o 7-1 123 p -"] * (100 if "long" in key else 1)

    async def run(self, script: Any, keys: Any, *arguments: Any) -> Any:
        if script.name == "hook_add":
            self.added += arguments[3::2]
            return [0, 0]
        if "refusing" in keys[0]:
            raise Unavailable
        self.removed.append(keys[0])
        return 1


async def test_rooms_of_a_shard_that_fails_keep_no_events_of_others() -> None:
    shards = Shards()
    with pytest.raises(PartlyMoved) as raised:
        await queue_over(shards).move(["away", "well", "silent", "refusing", "empty", "long"])
    assert sorted(raised.value.left) == ["away", "long", "refusing", "silent"]
    assert {*shards.added} == {"well", "refusing", "long"}
    assert [key.partition("{")[2].partition("}")[0] for key in shards.removed] == ["well", "long"]
    # A command to a shard that is away would hold up all.
    assert not any("away" in key for key in shards.asked)
    assert await queue_over(shards).move(["well", "long", "empty"]) == ["long"]
