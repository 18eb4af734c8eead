"""Pages that ask at the same time whether a room exists: one opens it, and the others join."""

from __future__ import annotations

import asyncio

from tests.unit.gateways.socketio.apps.rmc3.pages import Page, site


async def open_or_join(page: Page, room: str) -> str:
    """Do as the library's `openOrJoin`; returns what was done."""
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
