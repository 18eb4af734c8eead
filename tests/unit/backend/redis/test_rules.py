"""Steps of which several calls are made; tests/contract has the rest."""

import asyncio
from typing import Any

import pytest

from relay.backend.redis.keys import Keys
from relay.backend.redis.outboxes import RedisOutboxes
from relay.backend.redis.rules import RedisRoomRules
from relay.backend.rules import Change, Kicking
from relay.backend.settings import RoomSettings
from relay.model.errors import Unavailable


class FakeClient:
    """Answers scripts with `replies`, and commands with pages of `hash`."""

    era = 7

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies)
        self.pages: list[Any] = []
        self.calls: list[tuple[Any, ...]] = []

    def run(self, script: Any, keys: Any, *arguments: Any) -> asyncio.Future[Any]:
        self.calls.append((script.name, *arguments))
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_result(self.replies.pop(0) if len(self.replies) > 1 else self.replies[0])
        return future

    def at_room(self, room: str) -> "FakeClient":
        return self

    async def call(self, *command: Any) -> Any:
        return self.pages.pop(0)


def rules(client: FakeClient) -> RedisRoomRules:
    keys = Keys("relay")
    return RedisRoomRules(client, keys, None, RoomSettings(), RedisOutboxes(keys, None, None, ttl=1000))


async def test_a_large_room_is_closed_page_by_page() -> None:
    client = FakeClient([100, 120], [100, 20], [20, 0])
    assert await rules(client).close("r", reason="over") == 220
    assert [call[2] for call in client.calls] == [1, 0, 0]


async def test_the_members_of_a_subject_are_found_in_pages() -> None:
    client = FakeClient(1)
    client.pages = [[b"3", [b"a", b"x", b"b", b"y"]], [b"0", [b"c", b"x", b"a", b"x"]]]
    assert await rules(client).kick(Kicking(room="r", subject="x")) == 2
    assert [call[2] for call in client.calls] == ["a", "c"]


async def test_a_room_that_no_worker_has_confirmed_is_asked_again_and_not_for_ever(monkeypatch) -> None:
    monkeypatch.setattr("relay.backend.redis.rules._WAITS", (0, 0, 0))
    client = FakeClient([b"unconfirmed"], b"v=1 l=1")
    assert (await rules(client).change("r", Change(set="l=1"))).locked
    for reply in ([b"unconfirmed"], -1):
        with pytest.raises(Unavailable):
            await rules(FakeClient(reply)).move("r", "s", None)
