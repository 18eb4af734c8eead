"""RTCMultiConnection 3.7.1 in Chromium, unmodified, whose pages are on two workers."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.browser.conftest import OpenTab, Tab
from tests.documentation import snippet
from tests.fleet import Client, RedisServer, Relay

pytestmark = pytest.mark.asyncio(loop_scope="session")

Fleet = tuple[Relay, Relay]


async def visit(open_tab: OpenTab, site: str, relay: Relay, userid: str = "", version: str = "4") -> Tab:
    tab = await open_tab(f"{site}/browser/pages/rmc3.html?version={version}", relay=relay.http, strict=False)
    if userid:
        await tab.run("userid => { connection.userid = userid; }", userid)
    return tab


async def call(tab: Tab, name: str, room: str) -> list[object]:
    """Call `open`, `join` or `openOrJoin`, and return the arguments of its callback."""
    count = await tab.run("answers.length")
    await tab.run("([name, room]) => void connection[name](room, answered)", [name, room])
    found: list[object] = await tab.until("count => answers.length > count && answers[count]", count)
    return found


async def talk(a: Tab, b: Tab) -> None:
    """Wait until both have a data channel, and say something in both directions."""
    for tab in (a, b):
        await tab.until("opened.length >= 1")
    await a.run("connection.send('from a: \\u2603')")
    await b.run("connection.send({ deep: [1, null] })")
    assert (await b.until("heard[0]"))["message"] == "from a: \u2603"
    assert (await a.until("heard[0]"))["message"] == {"deep": [1, None]}


@pytest.mark.smoke
async def test_a_data_session(open_tab: OpenTab, tests_site: str, fleet: Fleet) -> None:
    a, b = [await visit(open_tab, tests_site, relay) for relay in fleet]
    assert (await call(a, "openOrJoin", "rmc3-smoke"))[:2] == [True, "rmc3-smoke"]
    assert (await call(b, "openOrJoin", "rmc3-smoke"))[:2] == [True, "rmc3-smoke"]
    assert (await a.run("connection.isInitiator"), await b.run("connection.isInitiator")) == (True, False)
    await talk(a, b)


@pytest.mark.parametrize("version", ["4", "2", "1"])
async def test_each_version_of_socket_io(open_tab: OpenTab, tests_site: str, fleet: Fleet, version: str) -> None:
    room = f"rmc3-version-{version}"
    a, b = [await visit(open_tab, tests_site, relay, version=version) for relay in fleet]
    assert (await call(b, "join", room))[0::2] == [False, "Room not available"]
    await a.run("connection.password = 'geheim'")
    assert (await call(a, "open", room))[0] is True
    assert (await call(b, "join", room))[0::2] == [False, "Invalid password"]
    await b.run("connection.password = 'geheim'")
    assert (await call(b, "join", room))[0] is True
    await talk(a, b)
    await b.run("connection.setCustomSocketEvent('chat')")
    await b.run("connection.socket.on('chat', (said) => heard.push({ chat: said }))")
    await a.run("connection.setCustomSocketEvent('chat')")
    await a.run("void connection.socket.emit('chat', 'hello')")
    await b.until("heard.some((one) => one.chat === 'hello')")
    ids = [await tab.run("connection.userid") for tab in (a, b)]
    await a.page.close()
    await b.until("gone => left.includes(gone)", ids[0])
    await b.until("connection.isInitiator")


@pytest.mark.parametrize("version", ["4", "2", "1"])
async def test_a_page_that_blinks_is_in_its_room_again(
    open_tab: OpenTab, tests_site: str, fleet: Fleet, version: str
) -> None:
    room = f"rmc3-blink-{version}"
    a, b = [await visit(open_tab, tests_site, relay, version=version) for relay in fleet]
    await call(a, "open", room)
    await call(b, "join", room)
    await talk(a, b)
    for tab in (a, b):
        await tab.run("connection.socket.on('disconnect', () => statuses.push('lost'))")
        await tab.run("blink()")
        await tab.until("statuses.includes('lost')")
        await tab.until("isConnected()")
    # A third page finds both: the room, its owner and its members are those from before.
    c = await visit(open_tab, tests_site, fleet[0], version=version)
    assert (await call(c, "join", room))[0] is True
    await c.until("opened.length === 2")
    assert await a.run("connection.isInitiator")
    assert [await tab.run("left.length") for tab in (a, b)] == [0, 0]


async def test_a_call_of_three_of_whom_one_leaves(open_tab: OpenTab, tests_site: str, fleet: Fleet) -> None:
    tabs = [await visit(open_tab, tests_site, relay) for relay in (*fleet, fleet[0])]
    ids = [await tab.run("connection.userid") for tab in tabs]
    for tab in tabs:
        await tab.run("useMedia()")
        assert (await call(tab, "openOrJoin", "rmc3-call"))[0] is True
    for tab, own in zip(tabs, ids, strict=True):
        others = [one for one in ids if one != own]
        await tab.until("others => others.every((one) => seen().includes(one))", others, timeout=60)
    await tabs[1].run("connection.leave()")
    for tab in (tabs[0], tabs[2]):
        await tab.until("gone => left.includes(gone)", ids[1])


async def test_eight_participants(open_tab: OpenTab, tests_site: str, fleet: Fleet) -> None:
    tabs = [await visit(open_tab, tests_site, fleet[number % 2]) for number in range(8)]
    for tab in tabs:
        assert (await call(tab, "openOrJoin", "rmc3-eight"))[0] is True
    for tab in tabs:
        await tab.until("new Set(opened).size === 7", timeout=120)
    assert [await tab.run("connection.isInitiator") for tab in tabs] == [True, *[False] * 7]


@pytest.mark.parametrize("kind", ["oneway", "broadcast"])
async def test_in_a_oneway_session_viewers_see_the_owner_alone(
    open_tab: OpenTab, tests_site: str, fleet: Fleet, kind: str
) -> None:
    a, b, c = [await visit(open_tab, tests_site, relay) for relay in (*fleet, fleet[1])]
    ids = [await tab.run("connection.userid") for tab in (a, b, c)]
    for tab in (a, b, c):
        await tab.run("useMedia()")
        await tab.run("kind => { connection.session[kind] = true; }", kind)
    room = f"rmc3-{kind}"
    await a.run("room => void connection.open(room, answered)", room)
    await a.until("answers.length === 1")
    for tab in (b, c):
        await tab.run("connection.sdpConstraints.mandatory = { OfferToReceiveAudio: true, OfferToReceiveVideo: true }")
        assert (await call(tab, "join", room))[0] is True
        await tab.until("owner => seen().includes(owner)", ids[0], timeout=60)
    assert ids[2] not in await b.run("connection.getAllParticipants()")


async def test_five_viewers_of_a_scalable_broadcast(open_tab: OpenTab, tests_site: str, fleet: Fleet) -> None:
    host = await visit(open_tab, tests_site, fleet[0])
    await host.run("takePart('rmc3-stage', true)")
    await host.until("connection.isInitiator && document.querySelector('video[data-kind=local]')")
    viewers: list[Tab] = []
    sources: list[str] = []
    for number in range(5):
        viewers.append(await visit(open_tab, tests_site, fleet[(number + 1) % 2], f"viewer-{number}"))
        await viewers[-1].run("takePart('rmc3-stage', false)")
        sources.append(await viewers[-1].until("source"))
        await viewers[-1].until("seen().includes(source)", timeout=90)
    assert sources[:2] == ["rmc3-stage", "rmc3-stage"]
    assert all(one.startswith("viewer-") for one in sources[2:])
    # A viewer that relays leaves: those that received from it see the broadcast from another one.
    left = sources[2]
    await viewers[int(left[-1])].page.close()
    for number in (number for number, source in enumerate(sources) if source == left):
        await viewers[number].until("left => source && source !== left && seen().includes(source)", left, timeout=90)
    await host.page.close()
    for number, viewer in enumerate(viewers):
        if f"viewer-{number}" != left:
            await viewer.until("statuses.includes('rmc3-stage stopped')")


@pytest_asyncio.fixture(loop_scope="session")
async def couple(redis_server: RedisServer) -> AsyncIterator[Fleet]:
    """Two workers of which a test kills one."""
    common = {"redis_url": redis_server.url, "redis_prefix": f"relay:rmc3-{os.getpid()}"}
    relays = Relay(**common), Relay(**common)
    try:
        for relay in relays:
            await relay.ready()
        yield relays
    finally:
        for relay in relays:
            relay.close()


async def test_the_owner_of_a_killed_worker_is_followed_by_another(
    couple: Fleet, open_tab: OpenTab, tests_site: str
) -> None:
    a, b = [await visit(open_tab, tests_site, relay) for relay in couple]
    await call(a, "open", "rmc3-killed")
    await call(b, "join", "rmc3-killed")
    await talk(a, b)
    couple[0].process.kill()
    await b.until("connection.isInitiator", timeout=60)


async def test_a_file_of_five_megabytes(open_tab: OpenTab, tests_site: str, fleet: Fleet) -> None:
    a, b = [await visit(open_tab, tests_site, relay) for relay in fleet]
    for tab in (a, b):
        await tab.run("connection.enableFileSharing = true")
    await call(a, "open", "rmc3-file")
    await call(b, "join", "rmc3-file")
    await b.until("opened.length === 1")
    await a.until("opened.length === 1")
    await a.run("void connection.send(new File([new Uint8Array(5_000_000)], 'five.bin'))")
    assert await b.until("files.find((file) => file.userid !== connection.userid)", timeout=120) is not None
    assert await b.run("files.find((file) => file.userid !== connection.userid).size") == 5_000_000


async def test_of_pages_that_open_or_join_at_once_one_opens(open_tab: OpenTab, tests_site: str, fleet: Fleet) -> None:
    tabs = [await visit(open_tab, tests_site, fleet[number % 2]) for number in range(6)]
    answers = await asyncio.gather(*[call(tab, "openOrJoin", "rmc3-race") for tab in tabs])
    assert [answer[0] for answer in answers].count(True) >= 1
    owners = [await tab.run("connection.isInitiator && answers[0][0]") for tab in tabs]
    assert owners.count(True) == 1


async def test_the_owner_ends_the_session(open_tab: OpenTab, tests_site: str, fleet: Fleet) -> None:
    a, b = [await visit(open_tab, tests_site, relay) for relay in fleet]
    await call(a, "open", "rmc3-end")
    await call(b, "join", "rmc3-end")
    await talk(a, b)
    await a.run("void connection.closeEntireSession()")
    await b.until("statuses.includes('rmc3-end closed')")
    await a.until("statuses.includes('rmc3-end closed')")


async def test_the_snippet(open_tab: OpenTab, tests_site: str, fleet: Fleet) -> None:
    tabs = [await visit(open_tab, tests_site, relay) for relay in fleet]
    text = snippet("rtcmulticonnection3").replace("http://localhost:8888/", "' + RELAY + '/")
    text = text.replace("const connection", "window.mine").replace("connection.", "mine.")
    for tab in tabs:
        await tab.run("text => { window.eval(text); }", text)
    for tab in tabs:
        await tab.until("mine.getAllParticipants().length === 1")
    # And its chat.
    chat = snippet("rtcmulticonnection3-chat").replace("connection.", "mine.")
    for tab in tabs:
        await tab.run("() => { window.said = []; console.log = (value) => said.push(value); }")
        await tab.run("text => { window.eval(text); }", chat)
    await tabs[1].run("void mine.socket.emit('chat', 'again')")
    await tabs[0].until("said.includes('again')")


async def test_the_snippet_of_the_page_at_the_relay(open_tab: OpenTab, tests_site: str, fleet: Fleet) -> None:
    tabs = []
    for relay in fleet:
        home = await open_tab(relay.http + "/", strict=False)
        shown = await home.run("document.querySelector('#use-rtcmulticonnection3 pre').textContent")
        assert f"'{relay.http}/'" in shown
        script = shown[shown.index("<script>") + len("<script>") : shown.rindex("</script>")]
        tabs.append(await visit(open_tab, tests_site, relay))
        await tabs[-1].run("() => { window.said = []; console.log = (...values) => said.push(values); }")
        script = script.replace("const connection", "window.mine").replace("connection.", "mine.")
        await tabs[-1].run("text => { window.eval(text); }", script)
    for tab in tabs:
        await tab.until("said.some(([, text]) => text === 'hello from RTCMultiConnection')")


async def test_a_native_client_and_a_page_share_custom_events(open_tab: OpenTab, tests_site: str, fleet: Fleet) -> None:
    a = await visit(open_tab, tests_site, fleet[0])
    await call(a, "open", "rmc3-native")
    native = await Client.open(f"{fleet[1].ws}/rooms/rmc3-native?peer=native")
    await a.run("connection.setCustomSocketEvent('chat')")
    await a.run("connection.socket.on('chat', (said) => heard.push(said))")
    await native.send({"event": "chat", "args": ["from native"]})
    await a.until("heard.includes('from native')")
    await a.run("void connection.socket.emit('chat', 'from the page')")
    found = (await native.until(lambda event: event.get("event") == "chat", 30))[-1]
    assert found["args"] == ["from the page"]
    native.lose()


async def meet(open_tab: OpenTab, site: str, fleet: Fleet, room: str, **settings: object) -> tuple[Tab, Tab]:
    """Two pages on two workers with a data channel; the first one has opened the room with these settings."""
    a, b = [await visit(open_tab, site, relay) for relay in fleet]
    await a.run("settings => { Object.assign(connection, settings); }", settings)
    assert (await call(a, "open", room))[0] is True
    assert (await call(b, "join", room))[0] is True
    for tab in (a, b):
        await tab.until("opened.length >= 1")
    return a, b


async def userid(tab: Tab) -> str:
    found: str = await tab.run("connection.userid")
    return found


ASK = """([name, ...values]) => new Promise((resolve) => {
  connection.socket.emit(name, ...values, (...answer) => resolve(answer));
})"""


async def test_changed_extra_data(open_tab: OpenTab, tests_site: str, fleet: Fleet) -> None:
    a, b = await meet(open_tab, tests_site, fleet, "rmc3-extra", extra={"name": "before"})
    await b.run("() => { connection.onExtraDataUpdated = (event) => heard.push(event); }")
    await a.run("connection.extra = { name: 'after' }; connection.updateExtraData()")
    changed = await b.until("heard.find((event) => event.extra && event.extra.name === 'after')")
    assert changed["userid"] == await userid(a)
    assert (await b.run("id => connection.peers[id].extra", changed["userid"])) == {"name": "after"}
    c = await visit(open_tab, tests_site, fleet[1])
    exists, _, extra = await call(c, "checkPresence", "rmc3-extra")
    assert isinstance(extra, dict)
    assert (exists, extra["name"]) == (True, "after")
    assert await b.run(ASK, ["get-remote-user-extra-data", changed["userid"]]) == [{"name": "after"}]


async def test_a_page_changes_its_user_id_in_a_call(open_tab: OpenTab, tests_site: str, fleet: Fleet) -> None:
    a, b = await meet(open_tab, tests_site, fleet, "rmc3-renamed")
    await a.run("void connection.changeUserId('rmc3-new-id', () => statuses.push('changed'))")
    await a.until("statuses.includes('changed')")
    # The call goes on, and the room has its owner.
    await a.run("connection.send('still here')")
    await b.until("heard.some((one) => one.message === 'still here')")
    assert await a.run(ASK, ["set-password", ""]) == [True, "rmc3-renamed", None]
    assert [await tab.run("left") for tab in (a, b)] == [[], []]
    # A newcomer meets it under the new id, which nobody else can have.
    c = await visit(open_tab, tests_site, fleet[1])
    assert (await call(c, "join", "rmc3-renamed"))[0] is True
    await c.until("opened.includes('rmc3-new-id')")
    await c.run("void connection.socket.emit('changed-uuid', 'rmc3-new-id', answered)")
    assert (await c.until("answers[1]"))[0] is False


async def test_two_pages_part_and_stay_in_the_room(open_tab: OpenTab, tests_site: str, fleet: Fleet) -> None:
    a, b = await meet(open_tab, tests_site, fleet, "rmc3-part")
    ids = [await userid(tab) for tab in (a, b)]
    await a.run("id => void connection.disconnectWith(id)", ids[1])
    for tab, other in ((a, ids[1]), (b, ids[0])):
        await tab.until("other => left.includes(other) && !connection.getAllParticipants().includes(other)", other)
    # A newcomer finds both.
    c = await visit(open_tab, tests_site, fleet[1])
    assert (await call(c, "join", "rmc3-part"))[0] is True
    await c.until("ids => ids.every((id) => opened.includes(id))", ids)


async def test_a_room_that_is_full(open_tab: OpenTab, tests_site: str, fleet: Fleet) -> None:
    _, b = await meet(open_tab, tests_site, fleet, "rmc3-full", maxParticipantsAllowed=2)
    c = await visit(open_tab, tests_site, fleet[0])
    exists, _, extra = await call(c, "checkPresence", "rmc3-full")
    assert isinstance(extra, dict)
    assert (exists, extra["_room"]["isFull"]) == (True, True)
    assert await call(c, "join", "rmc3-full") == [False, "rmc3-full", "Room full"]
    await b.page.close()
    for _ in range(100):
        if (await call(c, "join", "rmc3-full"))[0]:
            break
    await c.until("opened.length === 1")


async def test_a_password_that_is_changed(open_tab: OpenTab, tests_site: str, fleet: Fleet) -> None:
    a, b = await meet(open_tab, tests_site, fleet, "rmc3-password")
    assert await b.run(ASK, ["set-password", "mine"]) == [False, "rmc3-password", "Room permission denied"]
    await a.run("void connection.setPassword('geheim', answered)")
    assert await a.until("answers[1]") == [True, "rmc3-password", None]
    c = await visit(open_tab, tests_site, fleet[1])
    _, _, extra = await call(c, "checkPresence", "rmc3-password")
    assert isinstance(extra, dict)
    assert extra["_room"]["isPasswordProtected"] is True
    for password, right in (
        ("falsch", [False, "rmc3-password", "Invalid password"]),
        ("geheim", [True, "rmc3-password", False]),
    ):
        assert await c.run(ASK, ["is-valid-password", password, "rmc3-password"]) == right
    await c.run("connection.password = 'falsch'")
    assert await call(c, "join", "rmc3-password") == [False, "rmc3-password", "Invalid password"]
    await c.run("connection.password = 'geheim'")
    assert (await call(c, "join", "rmc3-password"))[0] is True
    await c.until("opened.length === 2")


async def test_a_session_that_was_ended_begins_anew(open_tab: OpenTab, tests_site: str, fleet: Fleet) -> None:
    a, b = await meet(open_tab, tests_site, fleet, "rmc3-anew")
    owner = await userid(a)
    await a.run("void connection.closeEntireSession(() => statuses.push('done'))")
    await b.until("statuses.includes('rmc3-anew closed')")
    await a.until("statuses.includes('done')")
    assert await userid(a) != owner
    c = await visit(open_tab, tests_site, fleet[1])
    assert (await call(c, "checkPresence", "rmc3-anew"))[0] is False
    assert (await call(c, "open", "rmc3-anew"))[0] is True
    assert await c.run("connection.isInitiator")


@pytest_asyncio.fixture(loop_scope="session")
async def listing(redis_server: RedisServer) -> AsyncIterator[Fleet]:
    """Two workers that list public rooms."""
    common = {
        "redis_url": redis_server.url,
        "redis_prefix": f"relay:rmc3-public-{os.getpid()}",
        "rmc_public_rooms": "on",
    }
    relays = Relay(**common), Relay(**common)
    try:
        for relay in relays:
            await relay.ready()
        yield relays
    finally:
        for relay in relays:
            relay.close()


async def test_public_rooms(listing: Fleet, open_tab: OpenTab, tests_site: str) -> None:
    shown = {"publicRoomIdentifier": "lobby", "extra": {"title": "tea"}}
    a, b = await meet(open_tab, tests_site, listing, "rmc3-public", **shown)
    ids = [await userid(tab) for tab in (a, b)]
    c = await visit(open_tab, tests_site, listing[1])
    await c.run("void connection.connectSocket(() => statuses.push('connected'))")
    await c.until("statuses.includes('connected')")
    [[room]] = await c.run(ASK, ["get-public-rooms", "lobby"])
    assert (room["sessionid"], room["owner"], sorted(room["participants"])) == ("rmc3-public", ids[0], sorted(ids))
    assert (room["extra"], room["session"], room["isRoomFull"]) == ({"title": "tea"}, {"data": True}, False)
    assert await c.run(ASK, ["get-public-rooms", "other"]) == [[]]
    assert await c.run(ASK, ["get-public-rooms", ""]) == [None, "publicRoomIdentifier is required"]
