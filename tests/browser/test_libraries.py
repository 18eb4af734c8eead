"""Unmodified libraries from npm in pages on different workers: over plain WebSockets, and over relay.js.

The last ones detect presence: the first visitor opens a session, the second connects, and never do both open.
"""

import asyncio

import pytest

from tests.browser.conftest import OpenTab, Scene, Tab
from tests.fleet import Client, Relay

pytestmark = pytest.mark.asyncio(loop_scope="session")

Fleet = tuple[Relay, Relay]

PATHS = ("/", "/rooms/library")
"""The default room, and a named one."""

ARRIVE = """async ([library, path]) => {
  const { Relay } = await import(`${window.RELAY.replace(/^ws/, 'http')}/relay.mjs`);
  window.relay = new Relay(window.RELAY + path);
  if (library) eval(library).openSignalingChannel = relay.openSignalingChannel;
}"""


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


async def datachannel_carries_text_both_ways(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    await asyncio.gather(*[talk_over_datachannel(open_tab, site, fleet, path) for path in PATHS])


async def rtcmulticonnection_carries_data_both_ways(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    await asyncio.gather(*[talk_over_rtcmulticonnection(open_tab, site, fleet, path) for path in PATHS])


async def rtcmulticonnection_call_of_three_of_whom_one_leaves(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    tabs = [await visit(open_tab, site, "rtcmulticonnection", relay, PATHS[1]) for relay in (*fleet, fleet[0])]
    a, b, c = tabs
    ids = [await tab.run("connection.userid") for tab in tabs]
    for tab in tabs:
        await tab.run("connection.session = {audio: true, video: true}")
    await a.run("void connection.open('call')")
    await b.run("void connection.connect('call')")
    for tab, other in ((a, ids[1]), (b, ids[0])):
        await tab.until("other => seen().includes(other)", other)
    await c.run("void connection.connect('call')")
    for tab, others in ((a, ids[1:]), (b, [ids[0], ids[2]]), (c, ids[:2])):
        await tab.until("others => others.every((one) => seen().includes(one))", others)
    await b.run("connection.leave()")
    for tab in (a, c):
        await tab.until("gone => left.includes(gone)", ids[1])


async def a_meeting_over_open_socket(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    a, b = [await visit(open_tab, site, "meeting", relay, "/rooms/meeting") for relay in fleet]
    for tab in (a, b):
        await tab.run("meet()")
    ids = [await tab.run("me") for tab in (a, b)]
    await a.until("other => seen().includes(other)", ids[1])
    await b.until("other => seen().includes(other)", ids[0])
    await b.run("leave()")
    await a.until("other => gone.includes(other)", ids[1])
    assert not [error for tab in (a, b) for error in tab.errors if "favicon" not in error and "404" not in error]


async def open_signaling_channel_is_a_drop_in(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    async def talk(page: str, library: str, path: str) -> None:
        a, b = [await open_tab(f"{site}/pages/{page}.html", relay=relay.ws, strict=False) for relay in fleet]
        for tab in (a, b):
            await tab.run(ARRIVE, [library, path])
            await tab.run(f"{library}.session = {{data: true}}")
        await a.run(f"void {library}.open('drop-in')")
        await b.run(f"void {library}.connect('drop-in')")
        await a.until("opened.length === 1")
        await b.until("opened.length === 1")
        await a.run(f"{library}.send('from a')")
        await b.run(f"{library}.send('from b')")
        assert (await b.until("heard[0]"))["message"] == "from a"
        assert (await a.until("heard[0]"))["message"] == "from b"

    await asyncio.gather(
        talk("datachannel", "channel", "/rooms/drop-in"),
        talk("rtcmulticonnection", "connection", "/rooms/drop-in"),
    )


async def open_socket_hears_only_its_channels(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    a, b = [await open_tab(f"{site}/pages/meeting.html", relay=relay.ws, strict=False, frames=True) for relay in fleet]
    for tab in (a, b):
        await tab.run(ARRIVE, ["", "/rooms/quiet"])  # the page's own WebSocket is in the default room
        await tab.run("void meet(relay.openSocket)")
    ids = [await tab.run("me") for tab in (a, b)]
    await a.until("other => seen().includes(other)", ids[1])
    await b.until("other => seen().includes(other)", ids[0])
    stranger = await Client.open(f"{fleet[0].ws}/rooms/quiet")
    await stranger.ask({"channel": "elsewhere", "message": "not for them"})
    await stranger.send({"channel": "main-channel", "message": {"left": ids[1]}})
    for tab in (a, b):
        await tab.until("other => gone.includes(other)", ids[1])
        assert not [frame for frame in tab.frames if "not for them" in frame]
    await stranger.close()


async def rtcmulticonnection_3_over_its_socket_handler(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    async def visit(relay: Relay) -> Tab:
        tab = await open_tab(f"{site}/pages/rtcmulticonnection3.html", relay=relay.ws, strict=False)
        await tab.run("arrive()")
        await tab.run("connection.session = {audio: true, video: true, data: true}")
        return tab

    a, b, c = [await visit(relay) for relay in (*fleet, fleet[0])]
    ids = [await tab.run("connection.userid") for tab in (a, b, c)]
    assert (await b.run("enter('join', 'three')"))["error"] == "Room not available"
    assert (await a.run("enter('open', 'three')"))["done"]
    assert (await c.run("enter('open', 'three')"))["error"] == "Room not available"
    assert (await b.run("enter('join', 'three')"))["done"]
    for tab, other in ((a, ids[1]), (b, ids[0])):
        await tab.until("other => seen().includes(other) && opened.includes(other)", other)
    await a.run("connection.send('from a')")
    assert await b.until("heard[0]") == {"message": "from a", "userid": ids[0]}
    assert (await c.run("enter('openOrJoin', 'three')"))["done"]
    for tab, others in ((a, ids[1:]), (b, [ids[0], ids[2]]), (c, ids[:2])):
        await tab.until("others => others.every((one) => seen().includes(one))", others)
    await b.run("connection.leave()")
    await b.run("connection.closeSocket()")
    for tab in (a, c):
        await tab.until("gone => left.includes(gone)", ids[1])


async def the_first_visitor_opens_and_the_second_connects(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    a, b = [await open_tab(f"{site}/pages/presence.html", relay=relay.ws, strict=False) for relay in fleet]
    await a.run("visit('found')")
    await a.until("roles.length === 1")
    assert (await a.get(fleet[0].http + "/rooms/found"))["present"]
    await b.run("visit('found')")
    await b.until("opened.length === 1")
    await a.until("opened.length === 1")
    assert [await tab.run("roles") for tab in (a, b)] == [["open"], ["connect"]]


async def of_two_that_arrive_at_the_same_instant_one_opens(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    a, b = [await open_tab(f"{site}/pages/presence.html", relay=relay.ws, strict=False) for relay in fleet]
    rooms = [f"rush-{number}" for number in range(20)]
    firsts = await asyncio.gather(*[tab.run("rooms => rush(rooms)", rooms) for tab in (a, b)])
    assert all(one != other for one, other in zip(*firsts, strict=True)), firsts


SCENES = (
    rtcmulticonnection_call_of_three_of_whom_one_leaves,
    rtcmulticonnection_3_over_its_socket_handler,
    datachannel_carries_text_both_ways,
    rtcmulticonnection_carries_data_both_ways,
    a_meeting_over_open_socket,
    the_first_visitor_opens_and_the_second_connects,
    of_two_that_arrive_at_the_same_instant_one_opens,
    open_signaling_channel_is_a_drop_in,
    open_socket_hears_only_its_channels,
)


SMOKE = datachannel_carries_text_both_ways


@pytest.mark.parametrize(
    "scene",
    [pytest.param(scene, marks=[pytest.mark.smoke] if scene is SMOKE else []) for scene in SCENES],
    ids=lambda scene: scene.__name__,
)
async def test_library(scene: Scene, begun: dict[Scene, asyncio.Task[None]]) -> None:
    await begun[scene]
