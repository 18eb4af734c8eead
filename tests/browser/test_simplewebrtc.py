"""SimpleWebRTC 2 and 3 in Chromium, unmodified, with pages on two workers."""

import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from relay.gateways.socketio.apps.signalmaster.resources import Resources
from tests.browser.conftest import PATIENT, OpenTab, Tab
from tests.documentation import snippet
from tests.fleet import Client, Json, RedisServer, Relay, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

VERSIONS = ("2", "3")
QUERY = "/?dialect=signalmaster"
NAMESPACE = "/simplewebrtc"

_rooms = (f"simplewebrtc {number}/é" for number in itertools.count())

Fleet = tuple[Relay, Relay]
StartRelay = Callable[[], Awaitable[Relay]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def turn_fleet(redis_server: RedisServer) -> AsyncIterator[Fleet]:
    """Two workers that offer servers; two members fill a room."""
    settings = {"ice_servers": "stun:127.0.0.1:9", "turn_servers": "turn:127.0.0.1:9", "turn_secret": "s" * 16}
    common = {
        "redis_url": redis_server.url,
        "redis_prefix": "relay:simplewebrtc",
        "members_per_room": 2,
        **settings,
        **PATIENT,
    }
    relays = Relay(**common), Relay(**common)
    try:
        for relay in relays:
            await relay.ready()
        yield relays
    finally:
        for relay in relays:
            relay.close()


@pytest_asyncio.fixture(loop_scope="session")
async def victims(redis_server: RedisServer) -> AsyncIterator[tuple[Relay, Relay]]:
    """Two workers of a test, of which it kills one; a dead worker's members are soon taken over."""
    timings = PATIENT | {"worker_lease": 6, "reconnect_grace": 2}
    relays = [Relay(redis_url=redis_server.url, redis_prefix="relay:simplewebrtc-victims", **timings) for _ in range(2)]
    try:
        for relay in relays:
            await relay.ready()
        yield relays[0], relays[1]
    finally:
        for relay in relays:
            relay.close()


async def visit(open_tab: OpenTab, site: str, relay: Relay, version: str, address: str = QUERY) -> Tab:
    """Open a page, and wait until it may call."""
    url = f"{site}/browser/pages/simplewebrtc.html?version={version}"
    tab = await open_tab(url, relay=relay.http + address, strict=False)
    await tab.until("has('readyToCall')")
    return tab


async def call(caller: Tab, called: Tab, room: str) -> tuple[str, str]:
    """Let one page create a room and the other one join it; return their ids once each sees the other's video."""
    ids = await called.run("me()"), await caller.run("me()")
    assert await called.run("name => create(name)", room) == [None, room]
    error, described = await caller.run("name => join(name)", room)
    assert error is None
    assert described == {"clients": {ids[0]: {"screen": False, "video": True, "audio": False}}}
    for tab, other in ((called, ids[1]), (caller, ids[0])):
        await tab.until("other => seen().includes(other)", other, timeout=60)
    return ids


@pytest.mark.smoke
async def test_a_call_of_two(open_tab: OpenTab, tests_site: str, fleet: Fleet) -> None:
    called, caller = [
        await visit(open_tab, tests_site, relay, version) for relay, version in zip(fleet, VERSIONS, strict=True)
    ]
    await call(caller, called, next(_rooms))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("address", [QUERY, NAMESPACE])
async def test_a_call_of_three_of_whom_one_leaves(
    open_tab: OpenTab, tests_site: str, fleet: Fleet, version: str, address: str
) -> None:
    room = next(_rooms)
    a, b, c = [await visit(open_tab, tests_site, relay, version, address) for relay in (*fleet, fleet[0])]
    first, second = await call(b, a, room)
    assert await c.run("name => create(name)", room) == ["taken", None]
    _, described = await c.run("name => join(name)", room)
    third = await c.run("me()")
    assert set(described["clients"]) == {first, second}
    for tab, others in ((a, [second, third]), (b, [first, third]), (c, [first, second])):
        await tab.until("others => others.every((one) => seen().includes(one))", others, timeout=60)
        # The newcomer has called, and nobody was called twice.
        assert sorted(await tab.run("calls")) == sorted(f"video {one}" for one in others)
    await b.run("webrtc.mute()")
    for tab in (a, c):
        await tab.until("other => happened.some((one) => one[1] === 'audio ' + other)", second)
    await b.run("webrtc.leaveRoom()")
    for tab, other in ((a, third), (c, first)):
        await tab.until("other => String(peers('video')) === other", other)
    await b.run("name => join(name)", room)
    for tab, others in ((a, [second, third]), (b, [first, third])):
        await tab.until("others => others.every((one) => seen().includes(one))", others, timeout=60)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_screen_that_is_signaled_by_hand(
    open_tab: OpenTab, tests_site: str, fleet: Fleet, version: str
) -> None:
    """Chromium captures no screen here, so the page takes the library's steps after the capture."""
    room = next(_rooms)
    owner, viewer = [await visit(open_tab, tests_site, relay, version) for relay in fleet]
    me, _ = await call(viewer, owner, room)
    await owner.run("shareScreen()")
    await viewer.until("other => String(peers('screen')) === other", me)
    late = await visit(open_tab, tests_site, fleet[1], version)
    _, described = await late.run("name => join(name)", room)
    assert described["clients"][me] == {"screen": True, "video": True, "audio": False}
    await late.until("other => String(peers('screen')) === other", me)
    await owner.run("webrtc.stopScreenShare()")
    for tab in (viewer, late):
        await tab.until("!peers('screen').length")
        assert me in await tab.run("peers('video')")


@pytest.mark.parametrize("version", VERSIONS)
async def test_servers_come_before_the_first_call_and_a_room_is_full(
    open_tab: OpenTab, tests_site: str, turn_fleet: Fleet, version: str
) -> None:
    room = next(_rooms)
    tabs = [await visit(open_tab, tests_site, relay, version) for relay in (*turn_fleet, turn_fleet[0])]
    for tab in tabs[:2]:
        assert (await tab.run("name => join(name)", room))[0] is None
        stun, turn = await tab.run("webrtc.webrtc.config.peerConnectionConfig.iceServers")
        assert stun == {"urls": "stun:127.0.0.1:9"}
        assert turn["urls"] == ["turn:127.0.0.1:9"]
        assert re.fullmatch(r"\d+:" + await tab.run("me()"), turn["username"])
        events = [name for name, _ in await tab.run("happened")]
        assert events.index("turnservers") < events.index("joinedRoom")
    assert (await tabs[2].run("name => join(name)", room))[0] == "full"
    await tabs[2].until("happened.some((one) => String(one) === 'error,full')")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_killed_worker(open_tab: OpenTab, tests_site: str, victims: tuple[Relay, Relay], version: str) -> None:
    """The others end their calls with a page whose worker is gone; it joins again by its own code."""
    dead, alive = victims
    room = next(_rooms)
    a = await visit(open_tab, tests_site, alive, version)
    b = await visit(open_tab, tests_site, dead, version)
    await call(b, a, room)
    dead.process.kill()
    await a.until("!peers('video').length", timeout=60)


async def test_the_library_never_takes_a_foreign_envelope_for_a_call(
    open_tab: OpenTab, tests_site: str, fleet: Fleet
) -> None:
    tab = await visit(open_tab, tests_site, fleet[0], "3")
    native = await Client.open(f"{fleet[1].ws}/rooms/foreign?peer=native")
    _, described = await tab.run("name => join(name)", "foreign")
    assert described == {"clients": {}}
    await native.send({"channel": "chat", "message": {"type": "offer", "payload": {"sdp": ""}}})
    await tab.until("relayed.length === 1")
    assert await tab.run("relayed[0].from") == "native"
    assert await tab.run("calls") == []
    # A native member that speaks the channel is heard like another page.
    await native.send({"channel": "simplewebrtc", "message": {"type": "mute", "payload": {"name": "audio"}}})
    await tab.run("void webrtc.connection.emit('relay', { channel: 'chat', message: 'hello' })")
    frame = await native.next()
    assert (frame["from"], frame["channel"], frame["message"]) == (await tab.run("me()"), "chat", "hello")
    await native.close()


async def test_a_native_member_that_wants_to_be_called(open_tab: OpenTab, tests_site: str, fleet: Fleet) -> None:
    info = Resources().as_info().decode()
    native = await Client.open(f"{fleet[1].ws}/rooms/called?peer=native&info={info}")
    tab = await visit(open_tab, tests_site, fleet[0], "3")
    await tab.run("name => join(name)", "called")

    def is_offer(frame: Json) -> bool:
        return bool(frame.get("channel") == "simplewebrtc" and frame["message"]["type"] == "offer")

    offer = (await native.until(is_offer))[-1]
    assert offer["from"] == await tab.run("me()")
    assert await tab.run("calls") == ["video native"]
    await native.close()


async def test_the_snippets_of_the_page(open_tab: OpenTab, tests_site: str, fleet: Fleet) -> None:
    other = await visit(open_tab, tests_site, fleet[1], "2")
    assert await other.run("join('demo')") == [None, {"clients": {}}]
    native = await Client.open(f"{fleet[1].ws}/rooms/demo?peer=native")
    library = f"{tests_site}/browser/node_modules/simplewebrtc-3/out/simplewebrtc-with-adapter.bundle.js"
    page = snippet("signalmaster").replace("http://localhost:8888", fleet[0].http)
    page = page.replace("simplewebrtc-with-adapter.bundle.js", library)
    printed: list[str] = []
    tab = await open_tab(f"{tests_site}/browser/pages/blank.html", strict=False)
    tab.page.on("console", lambda message: printed.append(message.text))
    relayed = snippet("signalmaster-relay")
    await tab.page.set_content(f"<!doctype html><body>{page}<script>{relayed}</script></body>")
    await other.until("seen().length === 1", timeout=60)
    frame = (await native.until(lambda frame: frame.get("channel") == "chat", timeout=30))[-1]
    assert frame["message"] == "hello"
    await native.send({"channel": "chat", "message": "hello from a native client"})
    await eventually(lambda: "native hello from a native client" in printed)
    await native.close()


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_page_comes_back_by_the_code_of_the_snippet(
    open_tab: OpenTab, tests_site: str, fleet: Fleet, version: str
) -> None:
    room = next(_rooms)
    a, b = [await visit(open_tab, tests_site, relay, version) for relay in fleet]
    await b.run(snippet("signalmaster-return"))
    _, before = await call(b, a, room)
    await b.run("void webrtc.connection.connection.io.engine.close()")
    await b.until("before => me() && me() !== before", before)
    after = await b.run("me()")
    await a.until("after => String(peers('video')) === after && seen().includes(after)", after, timeout=60)
    await b.until("seen().length === 1", timeout=60)
