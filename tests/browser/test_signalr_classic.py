"""SignalR 2.x: the seed's page with RTCMultiConnection 2.2.5 and DataChannel.js, and the client in its versions."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from tests.browser.conftest import HERE, OpenTab, Tab
from tests.browser.framed import address, frames, serve_files, until
from tests.documentation import snippet
from tests.fleet import Client, Proxy, RedisServer, Relay, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = "signalr.html"

PACKAGES = [(signalr, jquery) for signalr in ("signalr", "signalr-2.2.1") for jquery in ("jquery", "jquery-1")]
"""SignalR 2.4.3 and 2.2.1, with jQuery 3.7.1 and 1.12.4."""

TRANSPORTS = ("webSockets", "serverSentEvents", "longPolling")
CASES = HERE.parent / "conformance" / "results" / "signalr-classic.md"
"""The outcome of every case of `pages/signalr-cases.js`."""


async def at_home(open_tab: OpenTab, site: str, origin: str, **options: str) -> Tab:
    """Open the page at the relay's own origin."""
    tab = await open_tab(f"{site}/pages/blank.html", strict=False)
    await serve_files(tab.page)
    await tab.page.goto(address(origin, PAGE, options))
    return tab


async def talk(open_tab: OpenTab, site: str, fleet: Sequence[Relay], library: str) -> None:
    a, b = [await at_home(open_tab, site, relay.http, library=library) for relay in fleet]
    for tab in (a, b):
        await tab.until("$.connection.hub.state === 1")
        assert await tab.run("$.connection.hub.transport.name") == "webSockets"
    await a.run("void connection.open('a-session')")
    await b.run("void connection.connect('a-session')")
    for tab in (a, b):
        await tab.until("opened.length === 1", timeout=40)
    await a.run("connection.send('from a: \\u2603')")
    await b.run("connection.send({ deep: [1] })")
    assert await b.until("heard[0]") == "from a: \u2603"
    assert await a.until("heard[0]") == {"deep": [1]}


@pytest.mark.smoke
async def test_the_seeds_page_connects_on_different_workers(
    open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]
) -> None:
    await talk(open_tab, site, fleet, "rtcmulticonnection/RTCMultiConnection.js")


async def test_datachannel_js_connects_on_different_workers(
    open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]
) -> None:
    await talk(open_tab, site, fleet, "datachannel/DataChannel.js")


@pytest.mark.timeout(180)
async def test_the_cases_of_the_protocol_are_as_in_the_table(
    open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]
) -> None:
    """Each case, by name, with 2.4.3 and 2.2.1 over each transport; the table is written if it is not there."""
    tab = await open_tab(f"{site}/pages/blank.html", strict=False)
    await serve_files(tab.page)
    kinds = [(signalr, transport) for signalr in ("signalr", "signalr-2.2.1") for transport in TRANSPORTS]
    pages = [
        (fleet[number % 2].http, {"signalr": signalr, "transport": transport, "room": f"cases-{number}"})
        for number, (signalr, transport) in enumerate(kinds)
    ]
    shown = await frames(tab, PAGE, pages)
    played = [await frame.evaluate("play()") for frame in shown]
    heads = [f"{'2.2.1' if '2' in signalr else '2.4.3'} {transport}" for signalr, transport in kinds]
    lines = ["# The cases of SignalR 2.x", "", f"| Case | {' | '.join(heads)} |", f"| --- |{' --- |' * len(kinds)}"]
    lines += [f"| {case} | {' | '.join(outcomes[case] for outcomes in played)} |" for case in played[0]]
    text = "\n".join(lines) + "\n"
    if not CASES.exists():
        CASES.write_text(text)
    assert text == CASES.read_text()
    assert "| fails" not in text


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_version_hears_all_others_over_each_transport(
    open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay], transport: str
) -> None:
    """Each page hears each message once, its own among them, and its calls are answered."""
    room = f"versions-{transport}"
    native = await Client.open(f"{fleet[0].ws}/rooms/{room}")
    tab = await open_tab(f"{site}/pages/blank.html", strict=False)
    await serve_files(tab.page)
    pages = [
        (fleet[number % 2].http, {"signalr": signalr, "jquery": jquery, "transport": transport, "room": room})
        for number, (signalr, jquery) in enumerate(PACKAGES)
    ]
    shown = await frames(tab, PAGE, pages)
    assert [await frame.evaluate("begin()") for frame in shown] == [transport] * 4
    for number, frame in enumerate(shown):
        assert await frame.evaluate("number => say(number)", number) == ["done", None]
    for frame in shown:
        await until(frame, "heard.length >= 4")
        assert [heard["message"] for heard in await frame.evaluate("heard")] == [0, 1, 2, 3]
        failed = "'nope' method could not be resolved."
        assert await frame.evaluate("call('nope', 1)") == ["fail", failed]
    # Clients of all other protocols are in the room.
    await native.ask({"channel": "c", "message": "é ☃"})
    for frame in shown:
        await until(frame, "heard.some(({ message }) => message === 'é ☃')")
        assert await frame.evaluate("[states.includes(2), errors, lost]") == [False, [], []]
        await frame.evaluate("page.stop()")
    # Each page has said goodbye: none is held.
    await eventually(lambda: alone(fleet[0], room))
    await native.close()


async def alone(relay: Relay, room: str) -> bool:
    return len((await relay.describe(room))["members"]) == 1


async def test_a_browser_falls_back_to_the_best_transport_that_it_has(
    open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]
) -> None:
    tab = await open_tab(f"{site}/pages/blank.html", strict=False)
    await serve_files(tab.page)
    lacks = ("", "WebSocket", "WebSocket,EventSource")
    shown = await frames(tab, PAGE, [(fleet[0].http, {"without": without, "room": "fallback"}) for without in lacks])
    assert [await frame.evaluate("begin()") for frame in shown] == [*TRANSPORTS]
    for frame in shown:
        assert await frame.evaluate("say('hello')") == ["done", None]
    for frame in shown:
        await until(frame, "heard.length === 3")


async def test_pages_of_another_origin_use_the_address_of_the_script(
    open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]
) -> None:
    """With credentials, as the client has it, and over JSONP."""
    relay = fleet[0].http
    tab = await open_tab(f"{site}/pages/blank.html", strict=False)
    pages = [
        {"relay": relay, "room": "elsewhere", "transport": transport, "jsonp": jsonp}
        for transport, jsonp in (*((transport, "") for transport in TRANSPORTS), ("longPolling", "1"))
    ]
    await serve_files(tab.page)
    shown = await frames(tab, PAGE, [(site, options) for options in pages])
    assert [await frame.evaluate("begin()") for frame in shown] == [*TRANSPORTS, "longPolling"]
    for frame in shown:
        assert await frame.evaluate("say('hello')") == ["done", None]
    for frame in shown:
        await until(frame, "heard.length === 4")
        assert (await frame.evaluate("page.url")) == f"{relay}/signalr"


@asynccontextmanager
async def victim(redis_server: RedisServer, prefix: str) -> AsyncIterator[Relay]:
    relay = Relay(redis_url=redis_server.url, redis_prefix=prefix, reconnect_grace=60)
    try:
        yield await relay.ready()
    finally:
        relay.close()


@pytest.mark.timeout(180)
async def test_a_killed_worker_costs_no_message_on_any_transport(
    open_tab: OpenTab, site: str, redis_server: RedisServer
) -> None:
    """Pages reconnect by themselves, to another worker, and get all missed messages, once and in order."""
    async with (
        victim(redis_server, "relay:signalr-killed") as dying,
        victim(redis_server, "relay:signalr-killed") as other,
        Proxy(dying.port) as proxy,
    ):
        tab = await open_tab(f"{site}/pages/blank.html", strict=False)
        await serve_files(tab.page)
        pages = [
            (f"http://127.0.0.1:{proxy.port}", {"signalr": signalr, "transport": transport, "room": "killed"})
            for signalr in ("signalr", "signalr-2.2.1")
            for transport in TRANSPORTS
        ]
        shown = await frames(tab, PAGE, pages)
        for frame in shown:
            await frame.evaluate("begin()")
        ids = [await frame.evaluate("page.id") for frame in shown]
        native = await Client.open(f"{other.ws}/rooms/killed?presence=1")
        await native.ask({"channel": "c", "message": 0})
        for frame in shown:
            await until(frame, "heard.length === 1")
        dying.process.kill()
        proxy.lead_to(other.port)
        for number in (1, 2, 3):
            await native.ask({"channel": "c", "message": number})
        for frame in shown:
            await until(frame, "heard.length >= 4")
        await native.ask({"channel": "c", "message": 4})
        for frame, peer in zip(shown, ids, strict=True):
            await until(frame, "heard.length >= 5")
            assert [heard["message"] for heard in await frame.evaluate("heard")] == [0, 1, 2, 3, 4]
            assert await frame.evaluate("lost") == []
            assert await frame.evaluate("page.id") == peer
        for frame in shown:
            await until(frame, "page.state === 1")
            assert await frame.evaluate("say('back')") == ["done", None]
        assert {member["peer"] for member in (await other.describe("killed"))["members"]} >= set(ids)
        # Nobody has left or joined, in the eyes of others.
        events = await native.all_up_to_now()
        assert not [event for event in events if event.get("left") or event.get("joined")]
        await native.close()


@pytest.mark.timeout(180)
async def test_a_drained_worker_sends_its_pages_to_another_one(
    open_tab: OpenTab, site: str, redis_server: RedisServer
) -> None:
    async with (
        victim(redis_server, "relay:signalr-drained") as stopping,
        victim(redis_server, "relay:signalr-drained") as other,
        Proxy(stopping.port) as proxy,
    ):
        tab = await open_tab(f"{site}/pages/blank.html", strict=False)
        await serve_files(tab.page)
        pages = [
            (f"http://127.0.0.1:{proxy.port}", {"transport": transport, "room": "drained"}) for transport in TRANSPORTS
        ]
        shown = await frames(tab, PAGE, pages)
        for frame in shown:
            await frame.evaluate("begin()")
        proxy.lead_to(other.port)
        stopped = asyncio.create_task(stopping.terminate())
        native = await Client.open(f"{other.ws}/rooms/drained")
        for number in range(3):
            await native.ask({"channel": "c", "message": number})
        for frame in shown:
            await until(frame, "heard.length >= 3 && page.state === 1")
            assert [heard["message"] for heard in await frame.evaluate("heard")] == [0, 1, 2]
        assert await stopped == 0
        await native.close()


async def test_the_page_of_the_documentation(open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]) -> None:
    [script] = re.findall(r"<script>(.*?)</script>", snippet("signalr-classic"), re.DOTALL)
    native = await Client.open(f"{fleet[1].ws}/rooms/lobby")
    # The page's files without its script, which is that of the documentation.
    tab = await at_home(open_tab, site, fleet[0].http, room="lobby")
    await tab.run("void (window.logged = [], console.log = (...said) => logged.push(said))")
    await tab.run("(script) => (0, eval)(script)", script.replace("const hub", "var hub"))
    [*_, heard] = await native.until(lambda event: event.get("message") == "hello by SignalR")
    assert heard["channel"] == "chat"
    await native.ask({"channel": "chat", "message": "hello, page"})
    await tab.until("logged.some(([message]) => message === 'hello, page')")
    await native.close()


async def test_hubs_of_the_setting(open_tab: OpenTab, site: str) -> None:
    """The hub that RTCMultiConnection 3 has for SignalR, and a client without the script of proxies."""
    relay = Relay(signalr_classic_hubs="geckoHub.sendToAll:broadcastMessage")
    try:
        await relay.ready()
        tab = await at_home(open_tab, site, relay.http, room="gecko")
        await tab.run(
            """() => {
                window.said = [];
                $.connection.geckoHub.client.broadcastMessage = (...said) => window.said.push(said);
                return begin();
            }"""
        )
        await tab.run("settled($.connection.geckoHub.server.sendToAll('channel', 'text'))")
        assert await tab.until("said[0]") == ["channel", "text"]
        await tab.run(
            """() => {
                const own = $.hubConnection('/signalr', { useDefaultPath: false });
                own.qs = { room: 'gecko' };
                const proxy = own.createHubProxy('geckoHub');
                proxy.on('broadcastMessage', (...said) => window.said.push(['own', ...said]));
                return new Promise((done) => own.start().done(() => done(proxy.invoke('sendToAll', 'a', 'b'))));
            }"""
        )
        await tab.until("said.some(([first]) => first === 'own')")
        failed = await tab.run(
            """() => new Promise((done) => {
                const own = $.hubConnection('/signalr', { useDefaultPath: false });
                own.createHubProxy('nope').on('x', () => {});
                own.start().fail((error) => done(error.context.status));
            })"""
        )
        assert failed == 400
    finally:
        relay.close()
