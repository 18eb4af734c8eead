"""Batches of requests, one of which is held up, or fails."""

import asyncio

import pytest

from relay.model.errors import Unavailable
from relay.rooms.batches import run_in_batches


async def nothing() -> None:
    pass


async def test_a_batch_without_a_reply_does_not_hold_up_the_next_ones(monkeypatch) -> None:
    monkeypatch.setattr("relay.rooms.batches._PATIENCE", 0)
    reply, ended = asyncio.Event(), list[str]()

    async def held_up() -> None:
        await reply.wait()
        ended.append("first")

    async def prompt() -> None:
        ended.append("second")
        reply.set()

    await run_in_batches([held_up(), prompt()], nothing)
    assert ended == ["second", "first"]


async def test_a_batch_that_fails_shows_after_the_others_had_their_turn() -> None:
    ended = list[int]()

    async def fails() -> None:
        raise Unavailable("away")

    async def ends(number: int) -> None:
        ended.append(number)

    with pytest.raises(Unavailable):
        await run_in_batches([ends(1), fails(), ends(2)], nothing)
    assert ended == [1, 2]


async def test_an_error_between_two_batches_cancels_what_is_under_way(monkeypatch) -> None:
    monkeypatch.setattr("relay.rooms.batches._PATIENCE", 0)
    cancelled = asyncio.Event()

    async def held_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def fail() -> None:
        await asyncio.sleep(0)
        raise Unavailable("no lease")

    later = list[str]()

    async def never() -> None:
        later.append("begun")

    batches = (batch() for batch in (held_up, never))
    with pytest.raises(Unavailable):
        await run_in_batches(batches, fail)
    assert cancelled.is_set()
    assert later == []
