"""SignalR of ASP.NET Core: `@microsoft/signalr` in Chromium, over each transport and with both protocols."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.browser.conftest import OpenTab
from tests.browser.framed import address, frames, serve_files, until
from tests.conformance.sio import require_packages
from tests.documentation import snippet
from tests.fleet import Client, Proxy, RedisServer, Relay, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = "signalr-core.html"
TRANSPORTS = ("WebSockets", "ServerSentEvents", "LongPolling")
WAYS = [("WebSockets", ""), ("WebSockets", "1"), ("ServerSentEvents", ""), ("LongPolling", ""), ("LongPolling", "1")]
"""The transports, each in JSON, and in MessagePack where it may be."""

PLACES = {
    "cookie alone": "",
    "peer and cookie": "&peer={0}",
    "peer and key": "&peer={0}&resume=a-key-of-{0}-0123456789",
}
"""The parts of an address with which a page proves its place."""


@pytest.fixture(autouse=True)
def packages_of_node() -> None:
    require_packages("@microsoft/signalr", "@microsoft/signalr-protocol-msgpack")


async def members(relay: Relay, room: str) -> set[str]:
    """The members of a room that are connected or held."""
    return {member["peer"] for member in (await relay.describe(room))["members"]}


async def until_members(relay: Relay, room: str, expected: set[str]) -> None:
    async def there() -> bool:
        return await members(relay, room) == expected

    await eventually(there, 20)


@asynccontextmanager
async def victims(redis_server: RedisServer, prefix: str, count: int = 2) -> AsyncIterator[list[Relay]]:
    common = {"redis_url": redis_server.url, "redis_prefix": prefix, "reconnect_grace": 60, "worker_lease": 3.0}
    relays = [Relay(**common) for _ in range(count)]
    try:
        yield [await relay.ready() for relay in relays]
    finally:
        for relay in relays:
            relay.close()


@pytest.mark.smoke
async def test_pages_hear_each_other_on_different_workers_over_each_transport(
    open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]
) -> None:
    """Calls are answered, errors have their codes, and a page that stops leaves at once, on any transport."""
    room = "core-talk"
    native = await Client.open(f"{fleet[0].ws}/rooms/{room}?peer=native")
    tab = await open_tab(f"{site}/pages/blank.html", strict=False)
    await serve_files(tab.page)
    shown = await frames(tab, PAGE, [
        (fleet[number % 2].http, {"transport": transport, "packed": packed, "room": room, "place": f"&peer=p{number}"})
        for number, (transport, packed) in enumerate(WAYS)
    ])  # fmt: skip
    peers = [await frame.evaluate("begin()") for frame in shown]
    assert peers == [f"p{number}" for number in range(len(WAYS))]
    for number, frame in enumerate(shown):
        assert await frame.evaluate("number => say([number, 'é ☃'])", number)
    await native.ask({"channel": "c", "message": "of the native client"})
    for number, frame in enumerate(shown):
        await until(frame, "heard.length >= 5")
        others = [[other, "é ☃"] for other in range(len(WAYS)) if other != number]
        assert await frame.evaluate("heard") == [*others, "of the native client"]
        assert "unknown_method: " in await frame.evaluate("call('Nope')")
        assert await frame.evaluate("call('Presence').then(({ count }) => count)") == 6
    for frame in shown:
        await frame.evaluate("hub.stop()")
        assert await frame.evaluate("[lost, returned, ended]") == [[], [], ["undefined"]]
    # None is held: each goodbye counts, also over a stream that ends ahead of it.
    await until_members(fleet[1], room, {"native"})
    await native.close()


async def test_pages_of_another_origin(open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]) -> None:
    """The browser asks ahead of each request whether it may be made; the goodbye over a stream comes late by that."""
    room = "core-elsewhere"
    tab = await open_tab(f"{site}/pages/blank.html", strict=False)
    await serve_files(tab.page)
    key = PLACES["peer and key"]
    shown = await frames(tab, PAGE, [
        (site, {"relay": fleet[0].http, "room": room, "transport": transport, "packed": packed,
                "place": key.format(f"p{number}")})
        for number, (transport, packed) in enumerate(WAYS)
    ])  # fmt: skip
    assert [await frame.evaluate("begin()") for frame in shown] == [f"p{number}" for number in range(len(WAYS))]
    for number, frame in enumerate(shown):
        assert await frame.evaluate("say", number)
    for number, frame in enumerate(shown):
        await until(frame, "heard.length >= 4")
        assert await frame.evaluate("heard") == [other for other in range(len(WAYS)) if other != number]
    for frame in shown:
        await frame.evaluate("hub.stop()")
    await until_members(fleet[1], room, set())


@pytest.mark.timeout(240)
@pytest.mark.parametrize("proof", PLACES)
async def test_a_page_comes_back_into_its_place_after_its_worker_was_killed(
    open_tab: OpenTab, site: str, redis_server: RedisServer, proof: str
) -> None:
    """By the delays of the client itself, with the same id, and with all that it missed, in order."""
    async with (
        victims(redis_server, f"relay:core-{proof.replace(' ', '-')}") as (dying, other),
        Proxy(dying.port) as proxy,
    ):
        tab = await open_tab(f"{site}/pages/blank.html", strict=False)
        await serve_files(tab.page)
        rooms = [f"killed-{number}" for number in range(len(WAYS))]
        shown = await frames(tab, PAGE, [
            (f"http://127.0.0.1:{proxy.port}",
             {"transport": transport, "packed": packed, "room": room, "place": PLACES[proof].format("ann")})
            for room, (transport, packed) in zip(rooms, WAYS, strict=True)
        ])  # fmt: skip
        peers = [await frame.evaluate("begin()") for frame in shown]
        natives = [await Client.open(f"{other.ws}/rooms/{room}?peer=native&presence=1") for room in rooms]
        for frame, native in zip(shown, natives, strict=True):
            await native.ask({"message": "before"})
            await until(frame, "heard.includes('before')")
        dying.process.kill()
        for native in natives:
            await native.ask({"message": "missed"})
        proxy.lead_to(other.port)
        for native in natives:
            await native.ask({"message": "and this"})
        for frame, native, peer in zip(shown, natives, peers, strict=True):
            await until(frame, "returned.length === 1 && heard.includes('and this')")
            assert await frame.evaluate("returned") == [peer]
            # Events of the last second of a killed worker may come again, before those that were missed.
            heard = await frame.evaluate("heard")
            assert heard[:1] + heard[-2:] == ["before", "missed", "and this"]
            assert set(heard) == {"before", "missed", "and this"}
            assert await frame.evaluate("lost") == []
            assert await frame.evaluate("say('back')")
            events = await native.until(lambda event: event.get("message") == "back")
            # Nobody has left or joined, in the eyes of others.
            assert not [event for event in events if event.get("left") or event.get("joined")]
            await native.close()


@pytest.mark.timeout(180)
async def test_a_worker_that_stops_sends_its_pages_to_another_one(
    open_tab: OpenTab, site: str, redis_server: RedisServer
) -> None:
    async with victims(redis_server, "relay:core-drained") as (stopping, other), Proxy(stopping.port) as proxy:
        tab = await open_tab(f"{site}/pages/blank.html", strict=False)
        await serve_files(tab.page)
        shown = await frames(tab, PAGE, [
            (f"http://127.0.0.1:{proxy.port}", {"transport": transport, "packed": packed, "room": f"drained-{number}"})
            for number, (transport, packed) in enumerate(WAYS)
        ])  # fmt: skip
        peers = [await frame.evaluate("begin()") for frame in shown]
        proxy.lead_to(other.port)
        stopped = asyncio.create_task(stopping.terminate())
        for number, (frame, peer) in enumerate(zip(shown, peers, strict=True)):
            native = await Client.open(f"{other.ws}/rooms/drained-{number}")
            await native.ask({"message": "meanwhile"})
            await until(frame, "heard.includes('meanwhile') && hub.state === 'Connected'")
            assert await frame.evaluate("[heard, returned, ended]") == [["meanwhile"], [peer], []]
            await native.close()
        assert await stopped == 0


async def test_a_page_that_is_loaded_again_has_its_place_and_another_tab_has_its_own(
    open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]
) -> None:
    """By the cookie alone. A page is closed without a goodbye where it streams or polls."""
    for transport in TRANSPORTS[1:]:
        options = {"transport": transport, "room": f"core-again-{transport}"}
        tab = await open_tab(f"{site}/pages/blank.html", strict=False)
        await serve_files(tab.page)
        await tab.page.goto(address(fleet[0].http, PAGE, options))
        first = await tab.run("begin()")
        second = await tab.context.new_page()
        await serve_files(second)
        await second.goto(address(fleet[1].http, PAGE, options))
        assert await second.evaluate("begin()") != first
        await tab.page.reload()
        assert await tab.run("begin()") == first


async def test_the_page_of_the_documentation(open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]) -> None:
    native = await Client.open(f"{fleet[1].ws}/rooms/lobby")
    tab = await open_tab(f"{site}/pages/blank.html", strict=False)
    await serve_files(tab.page)
    await tab.page.goto(address(fleet[0].http, PAGE, {"room": "lobby"}))
    await tab.run("void (window.logged = [], console.log = (...said) => logged.push(said))")
    code = snippet("signalr").replace("http://localhost:8888", fleet[0].http)
    await tab.run("(code) => void (0, eval)(`(async () => {${code}})()`)", code)
    [*_, heard] = await native.until(lambda event: event.get("message") == "hello by SignalR")
    assert heard["channel"] == "chat"
    await native.ask({"channel": "chat", "message": "hello, page"})
    await tab.until("logged.some(([, message]) => message === 'hello, page')")
    await native.close()
