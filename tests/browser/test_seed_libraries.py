"""The seed's libraries, unmodified from npm, with the seed's own code around them, in pages on different workers."""

import asyncio

import pytest

from tests.browser.conftest import OpenTab, Tab
from tests.fleet import Relay

pytestmark = pytest.mark.asyncio(loop_scope="session")

Fleet = tuple[Relay, Relay]

PATHS = ("/", "/rooms/library")
"""The default room, and one of its own."""


async def visit(open_tab: OpenTab, site: str, name: str, relay: Relay, path: str) -> Tab:
    tab = await open_tab(f"{site}/pages/{name}.html", relay=relay.ws + path, strict=False)
    await tab.until("websocket.readyState === 1")
    return tab


async def talk_over_datachannel(open_tab: OpenTab, site: str, fleet: Fleet, path: str) -> None:
    a, b = [await visit(open_tab, site, "datachannel", relay, path) for relay in fleet]
    ids = [await tab.run("channel.userid") for tab in (a, b)]
    await a.run("channel.open('a-room')")
    await b.run("channel.connect('a-room')")
    await a.until("opened.length === 1")
    await b.until("opened.length === 1")
    await a.run("channel.send('from a: \\u2603')")
    await b.run("channel.send('from b')")
    assert await b.until("heard[0]") == {"message": "from a: \u2603", "userid": ids[0]}
    assert await a.until("heard[0]") == {"message": "from b", "userid": ids[1]}


async def talk_over_rtcmulticonnection(open_tab: OpenTab, site: str, fleet: Fleet, path: str) -> None:
    a, b = [await visit(open_tab, site, "rtcmulticonnection", relay, path) for relay in fleet]
    for tab in (a, b):
        await tab.run("connection.session = {data: true}")
    await a.run("void connection.open('session')")
    await b.run("void connection.connect('session')")
    await a.until("opened.length === 1")
    await b.until("opened.length === 1")
    await a.run("connection.send('from a')")
    await b.run("connection.send({deep: [1, {two: 3}]})")
    assert (await b.until("heard[0]"))["message"] == "from a"
    assert (await a.until("heard[0]"))["message"] == {"deep": [1, {"two": 3}]}


async def test_both_libraries_carry_text_both_ways_in_both_rooms(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    # All at once, as most of the time is the libraries' own waiting.
    libraries = (talk_over_datachannel, talk_over_rtcmulticonnection)
    await asyncio.gather(*[talk(open_tab, site, fleet, path) for talk in libraries for path in PATHS])


async def test_rtcmulticonnection_call_of_three_of_whom_one_leaves(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    tabs = [await visit(open_tab, site, "rtcmulticonnection", relay, PATHS[1]) for relay in (*fleet, fleet[0])]
    a, b, c = tabs
    ids = [await tab.run("connection.userid") for tab in tabs]
    for tab in tabs:
        await tab.run("connection.session = {audio: true, video: true}")
    await a.run("void connection.open('call')")
    await b.run("void connection.connect('call')")
    for tab, other in ((a, ids[1]), (b, ids[0])):
        await tab.until("other => seen().includes(other)", other, timeout=25)
    await c.run("void connection.connect('call')")
    for tab, others in ((a, ids[1:]), (b, [ids[0], ids[2]]), (c, ids[:2])):
        await tab.until("others => others.every((one) => seen().includes(one))", others, timeout=25)
    await b.run("connection.leave()")
    for tab in (a, c):
        await tab.until("gone => left.includes(gone)", ids[1])


async def test_a_meeting_over_open_socket(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    a, b = [await visit(open_tab, site, "meeting", relay, "/") for relay in fleet]
    for tab in (a, b):
        await tab.run("meet()")
    ids = [await tab.run("me") for tab in (a, b)]
    await a.until("other => seen().includes(other)", ids[1])
    await b.until("other => seen().includes(other)", ids[0])
    await b.run("leave()")
    await a.until("other => gone.includes(other)", ids[1])
    assert not [error for tab in (a, b) for error in tab.errors if "favicon" not in error and "404" not in error]
