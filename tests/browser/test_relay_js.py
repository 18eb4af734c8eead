"""relay.js in real pages on different workers: several rooms, a call, a loop, a refusal."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.browser.conftest import PATIENT, OpenTab
from tests.fleet import RedisServer, Relay

pytestmark = pytest.mark.asyncio(loop_scope="session")

Fleet = tuple[Relay, Relay]


@pytest.mark.smoke
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
    # The client leaves the first room of the connection; it resumes the other one, with the messages that it missed.
    await b.run("room.leave()")
    await b.run("relay.drop()")
    await a.run("second.send('while you were away')")
    assert await b.until("whispers[1]") == ["ann", "while you were away"]
    await a.until("!room.members.includes('ben')")
    assert await b.run("relay.presence('first').then(({ count }) => count)") == 1


async def test_members_show_each_other_their_infos(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    a, b = [await open_tab(f"{site}/pages/talk.html", relay=[relay.ws]) for relay in fleet]
    for tab, peer in ((a, "ann"), (b, "ben")):
        await tab.run("peer => come('lobby', peer)", peer)
        await tab.run("""async (peer) => {
            window.infos = relay.join('infos', { peer, info: { name: `${peer} é'` } });
            window.changes = [];
            infos.on('change', ({ peer, info }) => changes.push([peer, info ?? null]));
            await infos.ready;
        }""", peer)  # fmt: skip
    assert await b.run("[...infos.infos].sort()") == [["ann", {"name": "ann é'"}], ["ben", {"name": "ben é'"}]]
    await a.until("infos.infos.get('ben')")
    await b.run("infos.setInfo({ muted: true })")
    assert await a.until("changes.at(-1)?.[1]?.muted && changes.at(-1)") == ["ben", {"muted": True}]
    await b.run("(relay.drop(), infos.setInfo(null))")
    assert await a.until("changes.at(-1)?.[1] === null && changes.at(-1)") == ["ben", None]
    assert await a.run("[...infos.infos]") == [["ann", {"name": "ann é'"}]]
    # Names are for members: everybody else gets their number.
    seen = await a.run("relay.presence('infos')")
    assert seen.pop("rules")["locked"] is False
    assert seen == {"room": "infos", "present": True, "count": 2}
    code = "infos.setInfo({ text: 'x'.repeat(2000) }).catch(({ code }) => code)"
    assert await a.run(code) == "bad_info"


@pytest_asyncio.fixture(loop_scope="session")
async def guarded(redis_server: RedisServer) -> AsyncIterator[Fleet]:
    """Two workers with a token of their own; a test requests them before its tabs, which would notice their end."""
    common = {"redis_url": redis_server.url, "redis_prefix": "relay:observed", **PATIENT}
    relays = Relay(**common), Relay(**common)
    try:
        yield await relays[0].ready(), await relays[1].ready()
    finally:
        for relay in relays:
            relay.close()


async def test_a_page_observes_a_room_without_being_noticed(guarded: Fleet, open_tab: OpenTab, site: str) -> None:
    a, b = [await open_tab(f"{site}/pages/talk.html", relay=[relay.ws]) for relay in guarded]
    await a.run("come('first', 'ann')")
    await b.run("come('elsewhere', 'ben')")
    await b.run("""async () => {
        window.seen = { token: [], none: [] };
        const [token, none] = [{ token: 'admin-token-of-the-tests' }, { messages: false }];
        window.rooms = { token: relay.observe('first', token), none: relay.observe('first', none) };
        for (const [name, room] of Object.entries(rooms)) {
            for (const type of ['join', 'leave', 'count', 'message', 'error', 'resumed']) {
                const detail = ({ peer, count, message, reason }) => peer ?? count ?? message ?? reason ?? null;
                room.on(type, (event) => seen[name].push([type, detail(event)]));
            }
            await room.ready;
        }
    }""")
    assert await b.run("Object.values(rooms).map((room) => [room.peer, room.members, room.count])") == [
        ["", ["ann"], 1], ["", [], 1],
    ]  # fmt: skip
    await a.run("relay.join('first', { peer: 'eve' }).ready.then((room) => room.send('hi', { to: 'ann' }))")
    await b.until("seen.token.length === 2 && seen.none.length === 1")
    assert await b.run("seen") == {"token": [["join", "eve"], ["message", "hi"]], "none": [["count", 2]]}
    assert await a.run("room.members.sort()") == ["ann", "eve"]
    assert await b.run("rooms.token.send('no').catch(({ code }) => code)") == "observing"
    assert await b.run("relay.observe('first').ready.catch(({ code }) => code)") == "unauthorized"
    await b.run("rooms.token.drop()")
    assert await b.until("seen.token.length === 4 && seen.token.slice(2)") == [
        ["error", "not_resumed"], ["resumed", None],
    ]  # fmt: skip
    await b.run("relay.close()")


async def test_names_of_any_text(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    a, b = [await open_tab(f"{site}/pages/talk.html", relay=[relay.ws]) for relay in fleet]
    name = "main hall/2 %20 é' \U0001f600"
    for tab, peer in ((a, "Анна K"), (b, "Ben /+")):
        await tab.run("([name, peer]) => come(name, peer)", [name, peer])
    assert await b.run("[room.name, room.first, room.members.map(relay.constructor.unescape).sort()]") == [
        name, False, ["Ben /+", "Анна K"],
    ]  # fmt: skip
    await b.run("""(window.spoken = [], void room.on('message', ({ from, message }) => {
        spoken.push([relay.constructor.unescape(from), message]);
    }))""")
    await a.run("room.send('one', { to: relay.constructor.escape('Ben /+') })")
    assert await b.until("spoken[0]") == ["Анна K", "one"]
    await b.run("relay.drop()")
    await a.run("room.send('two')")
    assert await b.until("spoken[1]") == ["Анна K", "two"]
    assert await b.run("name => relay.presence(name).then(({ count }) => count)", name) == 2


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


async def test_a_call_that_all_begin_at_once_and_one_leaves_and_comes_back(
    open_tab: OpenTab, site: str, fleet: Fleet
) -> None:
    tabs = {}
    for name, relay in zip(("ann", "ben", "cem"), (*fleet, fleet[0]), strict=True):
        tabs[name] = await open_tab(f"{site}/pages/talk.html", relay=[relay.ws])
        await tabs[name].run("name => come('call', name)", name)

    async def all_see_each_other() -> None:
        for name, tab in tabs.items():
            for other in tabs.keys() - {name}:
                await tab.until("other => frames(other) > 5", other)

    await tabs["ann"].until("room.members.length === 3")
    await asyncio.gather(*[tab.run("call()") for tab in tabs.values()])
    await all_see_each_other()
    await tabs["ben"].run("mesh.close()")
    for name in ("ann", "cem"):
        await tabs[name].until("mesh.connections.size === 1 && !document.getElementById('ben')")
    await tabs["ben"].run("document.getElementById('videos').replaceChildren()")
    await tabs["ben"].run("call()")
    await all_see_each_other()
    await tabs["cem"].run("room.leave()")
    for name in ("ann", "ben"):
        await tabs[name].until("mesh.connections.size === 1")


async def test_a_client_with_a_peer_id_that_stays_in_use_gets_the_error_and_gives_up(
    open_tab: OpenTab, site: str, fleet: Fleet
) -> None:
    a, b = [await open_tab(f"{site}/pages/talk.html", relay=[relay.ws], strict=False) for relay in fleet]
    await a.run("come('taken', 'ann')")
    assert await b.run("come('taken', 'ann').catch(({ code }) => code)") == "peer_taken"
    *before, last = await b.run("told")
    assert last == ["close", "peer_taken"]
    assert before == [["reconnecting", "peer_taken"]] * len(before)
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
    # The page has no other global names.
    assert await tab.run("typeof Outbox + typeof Link + typeof randomText") == "undefined" * 3
