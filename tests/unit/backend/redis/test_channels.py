"""Recent channels in Redis: a channel in use costs a few commands in a while."""

from collections.abc import Callable
from typing import Any

import pytest

from relay.backend.redis import channels
from relay.backend.redis.channels import RedisRecentChannels
from relay.backend.redis.connection import pack
from relay.backend.redis.keys import Keys
from relay.backend.redis.scripts import Script


class FakeClock:
    now = 1_700_000_000_000


class FakeClient:
    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.clock = FakeClock()

    def at_key(self, key: str) -> "FakeClient":
        return self

    def send_script(self, script: Script, keys: Any, arguments: Any, done: Any) -> None:
        self.sent.append(pack(script.name, *keys, *arguments))


class Desk:
    def __init__(self) -> None:
        self.now, self.client = 0.0, FakeClient()
        self.ends: list[tuple[float, Callable[[], None]]] = []
        client: Any = self.client
        self.channels = RedisRecentChannels(client, Keys("relay"), ttl=120, later=self.later)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.ends.append((self.now + seconds, call))

    def noted(self, room: str, channel: str) -> int:
        while self.ends and self.ends[0][0] <= self.now:
            self.ends.pop(0)[1]()
        before = len(self.client.sent)
        self.channels.note(room, channel)
        return len(self.client.sent) - before


def test_a_channel_is_noted_four_times_in_the_time_to_live() -> None:
    desk = Desk()
    sent = []
    for desk.now in range(120):
        sent.append(desk.noted("room", "chess"))
    assert [second for second, commands in enumerate(sent) if commands] == [0, 30, 60, 90]
    assert desk.noted("other", "chess") == desk.noted("room", "go") == 1


def test_the_memory_of_a_worker_for_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "_MOST_NOTED", 10)
    desk = Desk()
    for number in range(100):
        desk.noted("room", f"{number}" + "x" * 2000)
        assert len(desk.channels.noted) <= 10
        assert len(desk.ends) == 1
    assert all(len(channel) <= 128 for _, channel in desk.channels.noted)


def test_a_room_with_a_new_channel_in_each_message_costs_a_bounded_number_of_commands() -> None:
    desk = Desk()
    assert sum(desk.noted("room", f"c{number}") for number in range(1000)) == 256
    assert desk.noted("other", "c") == 1
    desk.now = 30
    assert desk.noted("room", "c999") == 1
