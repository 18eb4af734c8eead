"""What the README shows of pages is run, as it stands."""

import asyncio
import re
from pathlib import Path

import pytest

from tests.browser.conftest import OpenTab, Tab
from tests.fleet import Client, Relay, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

README = (Path(__file__).parents[2] / "README.md").read_text()


async def test_the_snippets_of_the_readme(open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]) -> None:
    talk, call, library = re.findall(r"```html\n(.*?)```", README, re.DOTALL)

    async def run(snippet: str, relay: Relay, said: list[str]) -> Tab:
        tab = await open_tab(f"{site}/pages/blank.html", strict=False)
        tab.page.on("console", lambda message: said.append(message.text))
        text = snippet.replace("localhost:8888", f"127.0.0.1:{relay.port}")
        text = text.replace('src="DataChannel.js"', f'src="{site}/node_modules/datachannel/DataChannel.js"')
        await tab.page.set_content(f"<!doctype html><body>{text}</body>")
        return tab

    async def talking() -> None:
        said: list[str] = []
        await run(talk, fleet[0], said)
        await eventually(lambda: "nobody here yet" in said)
        bob = await Client.open(f"{fleet[1].ws}/rooms/demo?peer=bob")
        assert (await bob.next())["message"] == "hello, bob"
        await bob.send({"message": "hello yourself"})
        await eventually(lambda: "bob: hello yourself" in said)
        await bob.close()
        await eventually(lambda: "without bob: alice" in said)

    async def calling() -> None:
        for tab in [await run(call, relay, []) for relay in fleet]:
            shown = "[...document.querySelectorAll('video')].filter((video) => video.videoWidth > 0).length === 1"
            await tab.until(shown)

    async def using_the_library() -> None:
        said: list[list[str]] = [[], []]
        for relay, heard in zip(fleet, said, strict=True):
            await run(library, relay, heard)
        await eventually(lambda: all("over a data channel" in heard for heard in said), 20)

    await asyncio.gather(talking(), calling(), using_the_library())
