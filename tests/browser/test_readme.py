"""The HTML snippets of the README and of docs/ run as they stand."""

import asyncio

import pytest

from tests.browser.conftest import OpenTab, Tab
from tests.documentation import snippet
from tests.fleet import Client, Relay, eventually
from tests.tokens import SECRET, token

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCRIPTS = {
    'src="DataChannel.js"': "browser/node_modules/datachannel/DataChannel.js",
    'src="socket.io.js"': "conformance/node_modules/socket.io-client-4/dist/socket.io.js",
}


async def test_the_snippets_of_the_pages(open_tab: OpenTab, tests_site: str, fleet: tuple[Relay, Relay]) -> None:
    async def run(name: str, relay: Relay, printed: list[str], room: str = "demo") -> Tab:
        tab = await open_tab(f"{tests_site}/browser/pages/blank.html", strict=False)
        tab.page.on("console", lambda message: printed.append(message.text))
        text = snippet(name).replace("localhost:8888", f"127.0.0.1:{relay.port}").replace("'demo'", f"'{room}'")
        text = text.replace("/rooms/demo'", f"/rooms/{room}'")
        for source, path in SCRIPTS.items():
            text = text.replace(source, f'src="{tests_site}/{path}"')
        await tab.page.set_content(f"<!doctype html><body>{text}</body>")
        return tab

    async def page() -> None:
        printed: list[str] = []
        await run("page", fleet[0], printed)
        await eventually(lambda: "first in the room" in printed)
        bob = await Client.open(f"{fleet[1].ws}/rooms/demo?peer=bob")
        assert (await bob.next())["message"] == "hello, bob"
        await bob.send({"message": "hello yourself"})
        await eventually(lambda: "bob: hello yourself" in printed)
        await bob.close()
        await eventually(lambda: "bob left; still here: alice" in printed)

    async def websocket() -> None:
        printed: list[str] = []
        bob = await Client.open(f"{fleet[1].ws}/rooms/plain?peer=bob")
        await run("websocket", fleet[0], printed, "plain")
        message = await bob.next()
        assert (message["sender"], message["channel"], message["message"]) == ("dave", "chat", "hello")
        await bob.send({"message": "hello, dave"})
        await eventually(lambda: any("hello, dave" in line for line in printed))
        await bob.close()

    async def socketio() -> None:
        printed: list[str] = []
        bob = await Client.open(f"{fleet[1].ws}/?peer=bob")
        await run("socketio", fleet[0], printed)
        message = await bob.next()
        assert (message["sender"], message["channel"], message["message"]) == ("erin", "chat", "hello")
        await bob.send({"sender": "bob", "message": "hello, erin"})
        await eventually(lambda: "bob says hello, erin" in printed)
        await bob.close()

    async def join() -> None:
        printed: list[str] = []
        bob = await Client.open(f"{fleet[1].ws}/rooms/joined?peer=bob")
        await run("join", fleet[0], printed, "joined")
        assert (await bob.next())["message"] == "hello"
        await eventually(lambda: "sent as true" in printed)
        await bob.send({"channel": "chat", "message": "hello, frank"})
        await eventually(lambda: "bob: hello, frank" in printed)
        await bob.close()

    async def call() -> None:
        for tab in [await run("call", relay, []) for relay in fleet]:
            shown = "[...document.querySelectorAll('video')].filter((video) => video.videoWidth > 0).length === 1"
            await tab.until(shown)

    async def library() -> None:
        printed: list[list[str]] = [[], []]
        for relay, lines in zip(fleet, printed, strict=True):
            await run("library", relay, lines)
        await eventually(lambda: all("over a data channel" in lines for lines in printed), 20)

    async def token_page() -> None:
        printed: list[str] = []
        relay = Relay(auth="required", auth_secret=SECRET)
        try:
            await relay.ready()
            tab = await open_tab(f"{tests_site}/browser/pages/blank.html", strict=False)
            tab.page.on("console", lambda message: printed.append(message.text))
            made = token(sub="alice", rooms=["demo"])
            await tab.page.route("**/token", lambda route: route.fulfill(body=made))
            text = snippet("token-page").replace("localhost:8888", f"127.0.0.1:{relay.port}")
            await tab.page.set_content(f"<!doctype html><body>{text}</body>")
            await eventually(lambda: any('"welcome","peer":"alice"' in line for line in printed))
        finally:
            relay.close()

    await asyncio.gather(page(), websocket(), socketio(), join(), call(), library(), token_page())
