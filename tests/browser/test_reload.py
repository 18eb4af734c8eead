"""Pages with a fixed peer id that are reloaded, duplicated, crash, or come back: none is refused, none is displaced."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import pytest
from playwright.async_api import CDPSession, Error, Frame, async_playwright

from tests.browser.conftest import PATIENT, OpenTab, Tab, launch, tabs_of
from tests.chaos.network import Network
from tests.fleet import Client, RedisServer, Relay, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

Fleet = tuple[Relay, Relay]

_numbers = itertools.count()


def address(site: str, *rooms: str) -> str:
    return f"{site}/pages/reload.html?peer=ann" + "".join(f"&room={room}" for room in rooms)


def new_room() -> str:
    return f"reload-{next(_numbers)}"


class Watcher:
    """A member of a room that sees the others come and go."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._seen: list[str] = []

    @classmethod
    async def open(cls, relay: Relay, room: str) -> Self:
        return cls(await Client.open(f"{relay.ws}/rooms/{room}?peer=watcher&presence=1"))

    async def sees(self, *changes: str) -> None:
        """Fail unless these are the next changes; one frame may have several, of which `left` comes first."""
        while len(self._seen) < len(changes):
            frame = await self._client.next()
            self._seen += [f"{peer} {name}" for name in ("left", "joined") for peer in frame[name]]
        seen, self._seen = self._seen[: len(changes)], self._seen[len(changes) :]
        assert seen == list(changes)

    async def close(self) -> None:
        assert not self._seen
        await self._client.close()


async def outcome(tab: Tab) -> Any:
    return await tab.run("outcome")


async def test_a_hundred_reloads_are_never_refused_and_the_others_see_each(
    open_tab: OpenTab, site: str, fleet: Fleet
) -> None:
    room = new_room()
    watcher = await Watcher.open(fleet[1], room)
    tab = await open_tab(address(site, room), relay=[relay.ws for relay in fleet], strict=False)
    outcomes = [await outcome(tab)]
    await watcher.sees("ann joined")
    for _ in range(100):
        await tab.page.reload()
        outcomes.append(await outcome(tab))
        # A client that does not read its frames answers no pings either.
        await watcher.sees("ann left", "ann joined")
    assert outcomes == [["open"]] * 101
    await watcher.close()


async def test_two_rooms_of_a_page(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    rooms = new_room(), new_room()
    tab = await open_tab(address(site, *rooms), relay=[relay.ws for relay in fleet], strict=False)
    for _ in range(10):
        await tab.page.reload()
        assert await outcome(tab) == ["open", "open"]
        assert await tab.run("rooms.map((room) => [room.peer, room.members])") == [["ann", ["ann"]]] * 2


NO_LOCKS = "Object.defineProperty(Navigator.prototype, 'locks', { get: () => undefined })"


async def test_a_duplicated_tab_is_refused_and_does_not_displace_the_first(
    open_tab: OpenTab, site: str, fleet: Fleet
) -> None:
    async def duplicate(script: str) -> None:
        first = await open_tab(f"{site}/pages/blank.html", relay=[relay.ws for relay in fleet], strict=False)
        await first.context.add_init_script(script)
        await first.page.goto(address(site, new_room()))
        await first.page.reload()  # so that the storage has had a key
        assert await outcome(first) == ["open"]
        await first.until("sessionStorage.length || !navigator.locks")
        async with first.context.expect_page() as opened:
            await first.run("void window.open(location.href)")
        second = Tab(await opened.value, first.context)
        # A page is told of before it has loaded anything.
        await second.page.wait_for_url(first.page.url)
        assert await outcome(second) == ["peer_taken"]
        # The copy of the storage is the second tab's own: when that reloads, the first one still has its key.
        await second.page.reload()
        assert await outcome(second) == ["peer_taken"]
        assert await first.run("rooms[0].connected")
        assert not [event for event in await first.run("told") if event[0] in {"reconnecting", "close"}]
        await first.page.reload()
        assert await outcome(first) == ["open"]

    await asyncio.gather(duplicate(""), duplicate(NO_LOCKS))


async def test_a_crashed_tab_gets_its_peer_id_back_at_once(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    room = new_room()
    watcher = await Watcher.open(fleet[1], room)
    async with Network(fleet[0].port) as network:
        tab = await open_tab(address(site, room), relay=[f"ws://127.0.0.1:{network.port}"], strict=False)
        assert await outcome(tab) == ["open"]
        await watcher.sees("ann joined")
        await tab.until("sessionStorage.length")
        # The relay does not notice that the connection has ended.
        network.blacken(later=False)
        async with of_crashed(tab) as session:
            assert await in_session(session, "outcome") == ["open"]
            # The others see that this is another page.
            await watcher.sees("ann left", "ann joined")
            assert not await in_session(session, "told.filter(([type]) => type === 'reconnecting')")
    await watcher.close()


async def test_a_crashed_tab_without_locks_waits_until_its_former_membership_has_ended(
    open_tab: OpenTab, site: str, redis_server: RedisServer
) -> None:
    relay = Relay(
        redis_url=redis_server.url, redis_prefix=f"relay:crashed{os.getpid()}", **PATIENT | {"reconnect_grace": 3}
    )
    try:
        await relay.ready()
        async with Network(relay.port) as network:
            tab = await open_tab(f"{site}/pages/blank.html", relay=[f"ws://127.0.0.1:{network.port}"], strict=False)
            await tab.context.add_init_script(NO_LOCKS)
            await tab.page.goto(address(site, new_room()))
            assert await outcome(tab) == ["open"]
            network.blacken(later=False)
            async with of_crashed(tab, network.reset) as session:
                assert await in_session(session, "outcome") == ["open"]
                told = await in_session(session, "told")
                assert told == [*[["reconnecting", "peer_taken"]] * (len(told) - 1), ["open", None]]
                assert len(told) > 1
    finally:
        relay.close()


@asynccontextmanager
async def of_crashed(tab: Tab, afterwards: Callable[[], object] = lambda: None) -> AsyncIterator[CDPSession]:
    """Crash a tab and reload it; playwright gives up a page that crashed, and the session goes on."""
    session = await tab.context.new_cdp_session(tab.page)
    crashed = asyncio.Event()
    session.once("Inspector.targetCrashed", lambda _: crashed.set())
    crash = asyncio.ensure_future(session.send("Page.crash"))
    await crashed.wait()
    crash.cancel()
    afterwards()
    await session.send("Page.reload")
    yield session


async def in_session(session: CDPSession, expression: str) -> Any:
    async def value() -> Any:
        asked = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = await session.send("Runtime.evaluate", asked)
        return [answer["result"]["value"]] if "value" in answer["result"] else None

    return (await eventually(value))[0]


@pytest.mark.parametrize("crowding", ["", "sessionStorage.setItem('page', 'x'.repeat(5_242_000))"])
async def test_pages_without_storage_or_with_a_full_one_join_and_reload(
    open_tab: OpenTab, site: str, fleet: Fleet, crowding: str
) -> None:
    tab = await open_tab(f"{site}/pages/blank.html", relay=[relay.ws for relay in fleet], strict=False)
    url = address(site, new_room())
    if crowding:
        await tab.run(crowding)
        frame = tab.page.main_frame
        await frame.goto(url)
    else:
        await tab.run("""async (src) => {
            const frame = Object.assign(document.createElement('iframe'), { src, sandbox: 'allow-scripts' });
            const loaded = new Promise((resolve) => { frame.onload = resolve; });
            document.body.append(frame);
            await loaded;
        }""", url)  # fmt: skip
        frame = tab.page.frames[1]
    for _ in range(5):
        assert await frame.evaluate("outcome") == ["open"]
        await frame.evaluate("(window.old = true, void setTimeout(() => location.reload()))")
        await eventually(lambda: fresh(frame))


async def fresh(frame: Frame) -> bool:
    try:
        return await frame.evaluate("window.old === undefined && document.readyState === 'complete'")
    except Error:  # the page is being replaced
        return False


async def test_a_page_in_the_back_forward_cache_has_left_and_comes_back(site: str, fleet: Fleet) -> None:
    room = new_room()
    watcher = await Watcher.open(fleet[1], room)
    async with async_playwright() as playwright:
        browser = await launch(playwright, ignore_default_args=["--disable-back-forward-cache"])
        async with tabs_of(browser) as open_tab:
            tab = await open_tab(address(site, room), relay=[relay.ws for relay in fleet], strict=False)
            assert await outcome(tab) == ["open"]
            await watcher.sees("ann joined")
            session = await tab.context.new_cdp_session(tab.page)
            # The same address again is another page of the tab, which takes the key over.
            await tab.run("void (window.mark = 'first')")
            await tab.page.goto(f"{address(site, room)}&again=1")
            assert await outcome(tab) == ["open"]
            await watcher.sees("ann left", "ann joined")
            history = await session.send("Page.getNavigationHistory")
            entry = history["entries"][history["currentIndex"] - 1]["id"]
            await session.send("Page.navigateToHistoryEntry", {"entryId": entry})
            assert await in_session(session, "window.mark ?? null") == "first", "the page was not in the cache"
            seen = await in_session(session, "rooms[0].connected ? told : undefined")
            assert seen == [
                ["open", None], ["reconnecting", "hidden"], ["error", "messages_lost"], ["resumed", False],
            ]  # fmt: skip
            await watcher.sees("ann left", "ann joined")
        await browser.close()
    await watcher.close()
