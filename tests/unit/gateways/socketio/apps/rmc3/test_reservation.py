"""Pages that ask at the same time whether a room exists: one opens it, and the others join."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from relay.gateways.socketio.apps.rmc3 import reservation
from tests.fleet import eventually
from tests.unit.gateways.socketio.apps.rmc3.pages import Page, site


async def open_or_join(page: Page, room: str) -> str:
    """Do as the library's `openOrJoin`; returns "joined" or "opened"."""
    exists = (await page.ask("check-presence", room))[0]
    done = await (page.join(room) if exists else page.open(room))
    assert done == [True], done
    return "joined" if exists else "opened"


async def test_of_twenty_pages_that_open_or_join_one_opens_and_all_others_join() -> None:
    async with site() as one:
        pages = [await one.connect(f"p{number}") for number in range(20)]
        done = await asyncio.gather(*[open_or_join(page, "r") for page in pages])
        assert sorted(done) == ["joined"] * 19 + ["opened"]
        assert len(await one.members("r")) == 20


async def test_a_page_that_asks_and_does_not_open_keeps_nobody_for_long() -> None:
    async with site() as one:
        ann, ben = await one.connect("ann"), await one.connect("ben")
        assert (await ann.ask("check-presence", "r"))[0] is False
        # It may ask again.
        assert (await ann.ask("check-presence", "r"))[0] is False
        assert await open_or_join(ben, "r") == "opened"


async def test_another_room_is_answered_at_once() -> None:
    async with site() as one:
        ann, ben = await one.connect("ann"), await one.connect("ben")
        assert (await ann.ask("check-presence", "r"))[0] is False
        assert (await ben.ask("check-presence", "s"))[0] is False
        # A room may be opened without asking.
        assert await ben.open("r") == [True]


async def asks(page: Page, room: str) -> bool:
    return bool((await page.ask("check-presence", room))[0])


@pytest.mark.parametrize("end", ["opens another room", "joins another room", "fails to open it", "leaves", "is lost"])
async def test_the_next_page_is_answered_as_soon_as_the_first_one_does_something_else(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The answer does not come because time is over.
    monkeypatch.setattr(reservation, "SECONDS", 1000)
    async with site() as one:
        ann, ben, cid = [await one.connect(name) for name in ("ann", "ben", "cid")]
        await cid.open("s")
        assert not await asks(ann, "r")
        waits = asyncio.create_task(asks(ben, "r"))
        match end:
            case "opens another room":
                assert await ann.open("t") == [True]
            case "joins another room":
                assert await ann.join("s") == [True]
            case "fails to open it":
                assert (await ann.open("r", password="x" * 200))[0] is False
            case "leaves":
                ann.leave()
            case "is lost":
                ann.lose()
        assert await waits is False
        # Now it is this page's turn, and the next one waits for it.
        dan = await one.connect("dan")
        waits = asyncio.create_task(asks(dan, "r"))
        assert await ben.open("r") == [True]
        assert await waits is True


async def test_a_page_that_only_looks_keeps_nobody_waiting_and_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as one:
        ann, ben, cid = [await one.connect(name) for name in ("ann", "ben", "cid")]
        monkeypatch.setattr(reservation, "SECONDS", 0.01)
        for page in (ann, ben):
            assert not await asks(page, "r")
            await eventually(partial(one.worker.reserve, "r", 0, "test"))
        # Both have let their moment pass.
        monkeypatch.setattr(reservation, "SECONDS", 1000)
        for page in (ann, ben, ann, cid, ann, ben):
            assert not await asks(page, "r")
        # It waits for a page that may open the room.
        dan = await one.connect("dan")
        waits = asyncio.create_task(asks(dan, "r"))
        assert await cid.open("r") == [True]
        assert await waits is True
        assert await asks(ann, "r")


async def test_pages_that_may_open_no_room_are_answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservation, "SECONDS", 1000)
    async with site(closed_rooms="on") as one:
        for name in ("ann", "ben"):
            assert not await asks(await one.connect(name), "r")


async def test_a_page_that_is_too_late_does_not_give_back_the_reservation_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reservation, "SECONDS", 1000)
    async with site() as one:
        ann, ben, cid = [await one.connect(name) for name in ("ann", "ben", "cid")]
        reserve = one.worker.reserve
        # As if the machine had stood still: Redis has ended the reservation, which the page still has.
        monkeypatch.setattr(one.worker, "reserve", lambda room, _seconds, owner: reserve(room, 0, owner))
        assert not await asks(ann, "r")
        monkeypatch.setattr(one.worker, "reserve", reserve)
        assert not await asks(ben, "r")
        assert await ann.open("other") == [True]
        waits = asyncio.create_task(asks(cid, "r"))
        assert await ben.open("r") == [True]
        assert await waits is True
