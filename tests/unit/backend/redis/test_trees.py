"""Trees in Redis, where they differ; tests/contract/test_trees.py has the rest."""

from typing import Any, cast

import pytest

from relay.backend.headroom import Headroom
from relay.backend.redis.client import RedisClient
from relay.backend.redis.keys import Keys
from relay.backend.redis.scripts import Script
from relay.backend.redis.trees import RedisTrees
from relay.backend.settings import HistorySettings, RoomSettings
from relay.backend.trees import Writer
from relay.model.errors import Refused
from relay.model.tree_changes import PathWrite, TreeChange
from relay.model.tree_envelopes import set_envelope


class FakeClient:
    """Keeps the arguments of scripts, and answers that the change was made."""

    def __init__(self) -> None:
        self.headroom = Headroom()
        self.histories: list[Any] = []

    async def run(self, script: Script, keys: Any, *arguments: Any) -> Any:
        self.histories.append(arguments[6])
        return [b"sent", b"1-2", b"7"]


def put(value: str) -> TreeChange:
    leaves = {} if not value else {"a": value.encode()}
    return TreeChange([PathWrite("a", leaves)], set_envelope("a", value or None))


async def test_large_changes_are_not_in_the_history_and_a_full_memory_takes_removals_alone() -> None:
    client = FakeClient()
    history = HistorySettings(size=100, ttl=60, bytes=65_536)
    trees = RedisTrees(cast(RedisClient, client), Keys("relay"), RoomSettings(history=history))
    receipt = await trees.write("room", Writer("ann"), put("small"), ttl=9)
    assert (receipt.text, receipt.version) == (b"1-2", (7, 1))
    await trees.write("room", Writer("ann"), put("x" * history.large), ttl=9)
    client.headroom.report_refusal(refuses=True)
    with pytest.raises(Refused, match="memory_low"):
        await trees.write("room", Writer("ann"), put("small"), ttl=9)
    await trees.write("room", Writer("ann"), put(""), ttl=9)
    assert client.histories == ["100 60000", "0 0", "0 0"]
