"""Questions to several parts of Redis: those that are away hold nobody up for long."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from relay.backend.redis import survey
from relay.backend.redis.survey import Survey, words_of
from relay.model.errors import OutcomeUnknown, RelayError, Unavailable


class Part:
    """A part of a cluster, which answers with its name, fails, or does not answer."""

    def __init__(self, name: str, *, reachable: bool = True, error: Exception | None = None) -> None:
        self.name, self.reachable, self.error = name, reachable, error
        self.asked = 0
        self.answering = asyncio.Event()
        if reachable:
            self.answering.set()

    async def answer(self) -> str:
        self.asked += 1
        await self.answering.wait()
        if self.error is not None:
            raise self.error
        return self.name


class Cluster:
    clustered = True
    report = "c:1: connection refused"


class World:
    def __init__(self) -> None:
        self.now = 0.0
        client: Any = Cluster()
        self.survey = Survey(client, lambda: self.now)

    async def ask(self, *parts: Part) -> Sequence[str | RelayError]:
        def place_of(part: Part) -> Any:
            return part

        return await self.survey.ask(parts, place_of, Part.answer)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(survey, "_PATIENCE", 0.02)
    return World()


async def test_the_answers_come_in_order_and_without_those_of_parts_that_are_away(world: World) -> None:
    away = Part("b", reachable=False)
    first, error, last = await world.ask(Part("a"), away, Part("c"))
    assert (first, last) == ("a", "c")
    assert isinstance(error, Unavailable)
    assert words_of(error) == "c:1: connection refused"
    assert "refused" not in error.text


async def test_parts_that_are_away_are_asked_again_after_some_time(world: World) -> None:
    away, there = Part("b", reachable=False), Part("a")
    for now, asked in ((0.0, 1), (9.0, 1), (11.0, 2)):
        world.now = now
        await world.ask(there, away)
        assert away.asked == asked
    # Also at once when they are reached again.
    away.reachable = True
    away.answering.set()
    assert await world.ask(there, away) == ["a", "b"]


async def test_nobody_is_left_out_before_another_one_has_answered(world: World) -> None:
    """A worker that has just started is not connected to any of them."""
    one, other = Part("a", reachable=False), Part("b", reachable=False)
    asking = asyncio.create_task(world.ask(one, other))
    await asyncio.sleep(0.1)
    assert not asking.done()
    one.answering.set()
    other.answering.set()
    assert await asking == ["a", "b"]


async def test_a_part_that_is_reached_is_waited_for(world: World) -> None:
    slow = Part("b")
    slow.answering.clear()
    asking = asyncio.create_task(world.ask(Part("a"), slow))
    await asyncio.sleep(0.1)
    assert not asking.done()
    slow.answering.set()
    assert await asking == ["a", "b"]


async def test_errors_of_redis_are_returned_and_others_are_raised(world: World) -> None:
    lost = OutcomeUnknown()
    assert await world.ask(Part("a"), Part("b", error=lost)) == ["a", lost]
    assert words_of(lost) == lost.text
    with pytest.raises(ValueError, match="a defect"):
        await world.ask(Part("a"), Part("b", error=ValueError("a defect")))
