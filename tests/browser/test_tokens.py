"""Pages with tokens, on two workers that ask for them: the snippets of the docs, and the demo."""

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Route

from relay.client import join
from tests.browser.conftest import PATIENT, OpenTab, Tab
from tests.browser.test_pages import enter
from tests.documentation import snippet
from tests.fleet import RedisServer, Relay, eventually
from tests.tokens import SECRET, token

pytestmark = pytest.mark.asyncio(loop_scope="session")

SAY = [{"room": "*", "can": ["join", "publish", "presence", "kick", "lock", "move"]}]

CLOSE = [{"room": "*", "can": ["join", "close"]}]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guarded(redis_server: RedisServer) -> AsyncIterator[tuple[Relay, Relay]]:
    common: dict[str, Any] = {"redis_url": redis_server.url, "redis_prefix": f"relay:tokens{os.getpid()}", **PATIENT}
    relays = [Relay(auth="required", auth_secret=SECRET, auth_leeway=0, **common) for _ in range(2)]
    try:
        yield await relays[0].ready(), await relays[1].ready()
    finally:
        for relay in relays:
            relay.close()


async def test_the_snippet_about_tokens(open_tab: OpenTab, site: str, guarded: tuple[Relay, Relay]) -> None:
    printed: list[str] = []
    tokens = [token(ttl=4, sub="ann", rooms=["demo"]), token(sub="ann", rooms=["demo"])]
    given: list[str] = []

    async def hand_out(route: Route) -> None:
        given.append(tokens[min(len(given), 1)])
        await route.fulfill(body=given[-1])

    tab = await open_tab(f"{site}/pages/blank.html", strict=False)
    tab.page.on("console", lambda message: printed.append(message.text))
    await tab.page.route("**/token", hand_out)
    text = snippet("token").replace("localhost:8888", f"127.0.0.1:{guarded[0].port}")
    async with join(guarded[1].ws, "demo", token=token(sub="boss", rooms=SAY)) as boss:
        await tab.page.set_content(f"<!doctype html><body>{text}</body>")
        await eventually(lambda: "in the room as ann" in printed)
        # The relay warned, and the page has fetched another one.
        await eventually(lambda: len(given) == 2)
        await boss.kick("ann", reason="rude")
        await eventually(lambda: "over: kicked rude" in printed)
    assert len(given) == 2


async def test_the_snippet_about_moves(open_tab: OpenTab, site: str, guarded: tuple[Relay, Relay]) -> None:
    printed: list[str] = []
    tab = await open_tab(f"{site}/pages/blank.html", strict=False)
    tab.page.on("console", lambda message: printed.append(message.text))
    ours = f"new Relay('{guarded[0].ws}', {{ token: '{token(rooms=['*'])}' }})"
    text = snippet("move").replace("new Relay('ws://localhost:8888')", ours)
    text = text.replace("localhost:8888", f"127.0.0.1:{guarded[0].port}")
    async with join(guarded[1].ws, "demo", presence=True, token=token(sub="boss", rooms=SAY)) as boss:
        await tab.page.set_content(f"<!doctype html><body>{text}</body>")
        await eventually(lambda: "in demo" in printed)
        await boss.move("other hall")
        await eventually(lambda: "in other hall" in printed)


async def test_the_demo_asks_for_the_missing_secret(open_tab: OpenTab, guarded: tuple[Relay, Relay]) -> None:
    tab = await open_tab(f"{guarded[0].http}/demo?room=garden")
    await tab.page.fill("#name", "Ada")
    await tab.page.press("#name", "Enter")
    problem = "document.getElementById('problem').textContent"
    await tab.until(f"{problem}.includes('Paste a token')")
    assert await tab.run("document.activeElement.id") == "token"
    await tab.page.fill("#token", token(rooms=["another"]))
    await tab.page.press("#token", "Enter")
    await tab.until(f"{problem}.includes('Paste a token for this room')")
    given = token(sub="ada", rooms=["garden"])
    await tab.page.fill("#token", given)
    await enter(tab, "Ada")
    assert await tab.run("document.getElementById('people').textContent") == "Ada (you)"
    assert given not in await tab.run("location.href")
    assert not any(given in url for url in tab.requests)
    home = await open_tab(guarded[0].http)
    await home.until("document.querySelector('.hero').textContent.includes('Clients give this relay a token')")


async def test_rtcmulticonnection_3_with_a_token_and_a_password(
    open_tab: OpenTab, site: str, guarded: tuple[Relay, Relay]
) -> None:
    async def visit(relay: Relay, password: str, *can: str) -> Tab:
        tab = await open_tab(f"{site}/pages/rtcmulticonnection3.html", relay=relay.ws, strict=False)
        await tab.run("connection.session = {data: true}")
        await tab.run("password => { connection.password = password }", password)
        rights = ["join", "publish", "send-direct", "presence", *can]
        given = token(sub=await tab.run("connection.userid"), rooms=[{"room": "three", "can": rights}])
        await tab.run("given => arrive({ token: async () => given })", given)
        return tab

    ann, ben = await visit(guarded[0], "hall", "lock", "close"), await visit(guarded[1], "wrong")
    assert (await ann.run("enter('open', 'three')"))["done"]
    assert await ben.run("new Promise((resolve) => connection.checkPresence('three', resolve))") is True
    assert (await ben.run("enter('join', 'three')"))["error"] == "Invalid password"
    await ben.run("() => { connection.password = 'hall' }")
    assert (await ben.run("enter('join', 'three')"))["done"]
    await ben.until("other => opened.includes(other)", await ann.run("connection.userid"))
    await ben.run("() => { connection.onEntireSessionClosed = () => { window.over = true } }")
    async with join(guarded[1].ws, "three", password="hall", token=token(sub="boss", rooms=CLOSE)) as boss:
        await boss.close_room(reason="late")
    await ben.until("window.over && connection.getAllParticipants().length === 0")
