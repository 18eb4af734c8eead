"""Pages open rooms and join them, one at a time, under names that are text."""

from __future__ import annotations

import asyncio

from tests.unit.gateways.socketio.apps.rmc3.pages import room_of, site


async def test_a_room_is_there_once_it_is_open() -> None:
    async with site() as one:
        ann, ben = await one.connect("ann"), await one.connect("ben")
        nobody = {"_room": {"isFull": False, "isPasswordProtected": False}}
        assert await ben.ask("check-presence", "r") == [False, "r", nobody]
        assert await ann.open("r", extra={"name": "Ann"}) == [True]
        assert await ben.ask("check-presence", "r") == [True, "r", {"name": "Ann", **nobody}]
        assert await one.members("r") == ["ann"]


async def test_no_second_page_opens_a_room_and_none_joins_one_that_is_not_there() -> None:
    async with site() as one:
        ann, ben = await one.connect("ann"), await one.connect("ben")
        assert await ben.join("r") == [False, "Room not available"]
        assert await ann.open("r") == [True]
        assert await ben.open("r") == [False, "Room not available"]
        assert await ben.join("r") == [True]


async def test_of_twenty_pages_that_open_a_room_at_once_one_does() -> None:
    async with site() as one:
        pages = [await one.connect(f"p{number}") for number in range(20)]
        answers = await asyncio.gather(*[page.open("r") for page in pages])
        assert sorted(answers) == [[False, "Room not available"]] * 19 + [[True]]


async def test_a_page_is_in_one_room_at_a_time() -> None:
    async with site() as one:
        ann, ben = await room_of(one, "ann", "ben")
        assert await ben.open("s") == [True]
        assert await one.members("r") == ["ann"]
        assert await ann.join("s") == [True]
        assert await one.members("r") == []
        assert await one.members("s") == ["ann", "ben"]


async def test_names_are_text_and_numbers_are_taken_as_text() -> None:
    async with site() as one:
        ann, ben = await one.connect("ann"), await one.connect("ben")
        assert await ann.open(7) == [True]  # type: ignore[arg-type]
        assert (await ben.ask("check-presence", "7"))[:2] == [True, "7"]
        assert await ben.open("a b/ü") == [True]
        assert (await ann.ask("check-presence", "a b/ü"))[:2] == [True, "a b/ü"]


async def test_a_room_that_no_page_has_opened_can_be_joined_if_it_has_members() -> None:
    async with site() as one:
        ann = await one.connect("ann")
        # A client of another application, in the same room.
        other = await one.connect("other", room="r", msgEvent="")
        assert other.socket.connected
        assert await ann.open("elsewhere") == [True]
