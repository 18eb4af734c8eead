"""relay.js in real pages on different workers: in place of the seed's code, under RTCMultiConnection 3, and alone."""

import asyncio
import json

import pytest

from tests.browser.conftest import OpenTab, Tab
from tests.fleet import Client, Relay

pytestmark = pytest.mark.asyncio(loop_scope="session")

Fleet = tuple[Relay, Relay]

ARRIVE = """async ([library, path]) => {
  const { Relay } = await import(`${window.RELAY.replace(/^ws/, 'http')}/relay.mjs`);
  window.relay = new Relay(window.RELAY + path);
  if (library) eval(library).openSignalingChannel = relay.openSignalingChannel;
}"""


async def test_open_signaling_channel_is_a_drop_in(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
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

    await asyncio.gather(talk("datachannel", "channel", ""), talk("rtcmulticonnection", "connection", "/rooms/drop-in"))


async def test_open_socket_hears_only_its_channels(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    a, b = [await open_tab(f"{site}/pages/meeting.html", relay=relay.ws, strict=False, frames=True) for relay in fleet]
    for tab in (a, b):
        await tab.run(ARRIVE, ["", "/rooms/meeting"])
        await tab.run("void meet(relay.openSocket)")
    ids = [await tab.run("me") for tab in (a, b)]
    await a.until("other => seen().includes(other)", ids[1])
    await b.until("other => seen().includes(other)", ids[0])
    stranger = await Client.open(f"{fleet[0].ws}/rooms/meeting")
    await stranger.ask({"channel": "elsewhere", "message": "not for them"})
    await stranger.send({"channel": "main-channel", "message": {"left": ids[1]}})
    for tab in (a, b):
        await tab.until("other => gone.includes(other)", ids[1])
        assert not [frame for frame in tab.frames if "not for them" in frame]
    await stranger.close()


async def test_rtcmulticonnection_3_over_its_socket_handler(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
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
        await tab.until("other => seen().includes(other) && opened.includes(other)", other, timeout=25)
    await a.run("connection.send('from a')")
    assert await b.until("heard[0]") == {"message": "from a", "userid": ids[0]}
    assert (await c.run("enter('openOrJoin', 'three')"))["done"]
    for tab, others in ((a, ids[1:]), (b, [ids[0], ids[2]]), (c, ids[:2])):
        await tab.until("others => others.every((one) => seen().includes(one))", others, timeout=25)
    await b.run("connection.leave()")
    await b.run("connection.closeSocket()")
    for tab in (a, c):
        await tab.until("gone => left.includes(gone)", ids[1])


async def test_one_connection_carries_several_rooms(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    a, b = [await open_tab(f"{site}/pages/talk.html", relay=[relay.ws], frames=True) for relay in fleet]
    for tab, peer in ((a, "ann"), (b, "ben")):
        await tab.run("peer => come('first', peer)", peer)
        await tab.run("""async (peer) => {
            window.second = relay.join('second', { peer });
            window.whispers = [];
            second.on('message', ({ from, message, room }) => whispers.push([from, message]));
            await second.ready;
        }""", peer)  # fmt: skip
    assert [json.loads(frame)["room"] for frame in a.frames if '"welcome"' in frame] == ["first", "second"]
    assert await b.run("[second.first, second.members.sort()]") == [False, ["ann", "ben"]]
    await a.run("second.send({ deep: ['\\u2603'] }, { to: 'ben' })")
    assert await b.until("whispers[0]") == ["ann", {"deep": ["\u2603"]}]
    # The connection's own room is left; the other one stays, and comes back with what was said meanwhile.
    await b.run("room.leave()")
    await b.run("relay.drop()")
    await a.run("second.send('while you were away')")
    assert await b.until("whispers[1]") == ["ann", "while you were away"]
    await a.until("!room.members.includes('ben')")
    assert await b.run("relay.presence('first').then(({ count }) => count)") == 1


async def test_a_loop_over_events_ends_when_the_room_is_left(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    a, b = [await open_tab(f"{site}/pages/talk.html", relay=[relay.ws]) for relay in fleet]
    await a.run("come('loop', 'ann')")
    loop = asyncio.create_task(a.run("""(async () => {
        const events = [];
        for await (const event of room) {
            events.push([event.type, event.peer ?? event.message]);
            if (event.message === 'go') room.leave();
        }
        return events;
    })()"""))  # fmt: skip
    await b.run("come('loop', 'ben')")
    await b.run("room.send('go')")
    assert await loop == [["join", "ben"], ["message", "go"]]


async def test_who_takes_a_peer_id_that_is_in_use_is_told_and_stays_away(
    open_tab: OpenTab, site: str, fleet: Fleet
) -> None:
    a, b = [await open_tab(f"{site}/pages/talk.html", relay=[relay.ws], strict=False) for relay in fleet]
    await a.run("come('taken', 'ann')")
    assert await b.run("come('taken', 'ann').catch(({ code }) => code)") == "peer_taken"
    assert await b.run("told") == [["close", "peer_taken"]]
    assert await b.run("room.send('x').catch(({ code }) => code)") == "peer_taken"


async def test_a_script_and_a_module_are_the_same(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    tab = await open_tab(f"{site}/pages/talk.html", relay=[fleet[0].ws])
    await tab.page.add_script_tag(url=f"{fleet[0].http}/relay.js")
    names = await tab.run(
        "import(`${RELAY[0].replace('ws', 'http')}/relay.mjs`).then((all) => Object.keys(all).sort())"
    )
    assert names == ["Mesh", "Relay", "RelayError", "RelayEvent", "Room", "default"]
    for name in ("Room", "Mesh", "RelayError", "RelayEvent"):
        assert await tab.run(f"typeof Relay.{name}") == "function"
    # Nothing else is known to the page.
    assert await tab.run("typeof Outbox + typeof Link + typeof randomText") == "undefined" * 3
