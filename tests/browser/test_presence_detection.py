"""The seed's "Room Presence Detection": the first visitor opens, the second connects, and never do both open."""

import asyncio

import pytest

from tests.browser.conftest import OpenTab
from tests.fleet import Relay

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_first_visitor_opens_and_the_second_connects(
    open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]
) -> None:
    a, b = [await open_tab(f"{site}/pages/presence.html", relay=relay.ws, strict=False) for relay in fleet]
    await a.run("visit('found')")
    await a.until("roles.length === 1")
    assert (await a.get(fleet[0].http + "/rooms/found"))["present"]
    await b.run("visit('found')")
    await b.until("opened.length === 1")
    await a.until("opened.length === 1")
    assert [await tab.run("roles") for tab in (a, b)] == [["open"], ["connect"]]


async def test_of_two_that_arrive_at_the_same_instant_one_opens(
    open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]
) -> None:
    a, b = [await open_tab(f"{site}/pages/presence.html", relay=relay.ws, strict=False) for relay in fleet]
    rooms = [f"rush-{number}" for number in range(50)]
    firsts = await asyncio.gather(*[tab.run("rooms => rush(rooms)", rooms) for tab in (a, b)])
    assert all(one != other for one, other in zip(*firsts, strict=True)), firsts
