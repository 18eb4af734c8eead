"""The npm package y-webrtc, unmodified, in pages on two workers: it shares documents over WebRTC."""

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pytest

from tests.browser.conftest import PATIENT, OpenTab, Tab
from tests.conftest import MakeRelay
from tests.documentation import snippet
from tests.fleet import Client, Relay

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def share(open_tab: OpenTab, site: str, url: str, topic: str, **options: Any) -> Tab:
    """Open a page that shares a document; a page that tries to connect to a killed worker logs errors."""
    tab = await open_tab(f"{site}/pages/y-webrtc.html", relay=url, strict=False)
    await tab.until("window.ready")
    await tab.run("([topic, options]) => share(topic, options)", [topic, options])
    return tab


async def all_have(tabs: Sequence[Tab], *lines: str) -> None:
    """Each page has all lines in its document, and the same text as the others."""
    for tab in tabs:
        await tab.until("lines => lines.every((line) => text.toString().includes(line))", list(lines))
    assert len({await tab.run("text.toString()") for tab in tabs}) == 1


async def all_meet(tabs: Sequence[Tab]) -> None:
    """Each page is connected to all others, over WebRTC alone."""
    for tab in tabs:
        await tab.until("count => peers() === count", len(tabs) - 1)
        assert await tab.run("neighbours()") == 0


async def write(tabs: Sequence[Tab], text: str) -> list[str]:
    lines = [f"{text} of page {number}; " for number in range(len(tabs))]
    await asyncio.gather(
        *[tab.run("line => text.insert(0, line)", line) for tab, line in zip(tabs, lines, strict=True)]
    )
    return lines


@pytest.mark.smoke
@pytest.mark.parametrize("password", [None, "geheim"])
async def test_two_pages_share_a_document(
    open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay], password: str | None
) -> None:
    topic = f"Протокол 1/2 {password}"
    witness = await Client.open(f"{fleet[0].ws}/rooms/{quote(topic, safe='')}")
    tabs = [await share(open_tab, site, relay.ws, topic, password=password) for relay in fleet]
    await all_meet(tabs)
    await all_have(tabs, *await write(tabs, "line"))
    announced = await witness.next()
    assert announced["channel"] == "y-webrtc"
    if password is None:
        assert announced["message"]["type"] == "announce"
    else:
        assert isinstance(announced["message"], str)  # encrypted by the pages
    await witness.close()


RUN = """text => {
  const module = Object.assign(document.createElement('script'), { type: 'module' });
  module.textContent = `${text}; Object.assign(window, { provider, text: doc.getText('text') });`;
  document.head.append(module);
}"""


async def run_snippet(open_tab: OpenTab, site: str, text: str) -> Tab:
    tab = await open_tab(f"{site}/pages/y-webrtc.html", strict=False)
    await tab.until("window.ready")
    await tab.run(RUN, text)
    await tab.until("!!window.text")
    return tab


async def test_the_snippet_of_the_documentation(open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]) -> None:
    text = snippet("y-webrtc")
    tabs = [await run_snippet(open_tab, site, text.replace("ws://localhost:8888", relay.ws)) for relay in fleet]
    await all_meet(tabs)
    await all_have(tabs, *await write(tabs, "line"))


async def test_the_snippet_of_the_page(open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]) -> None:
    tabs = []
    for relay in fleet:
        home = await open_tab(relay.http)
        tabs.append(
            await run_snippet(open_tab, site, await home.run("document.querySelector('#use-yjs pre').textContent"))
        )
    await all_meet(tabs)
    await all_have(tabs, *await write(tabs, "line"))


async def test_six_pages_whose_worker_is_killed(
    open_tab: OpenTab, site: str, start: MakeRelay, redis_url: str, prefix: str
) -> None:
    common = {"redis_url": redis_url, "redis_prefix": prefix} | PATIENT
    fleet = [await start(**common) for _ in range(2)]
    tabs = [await share(open_tab, site, fleet[number % 2].ws + "/rooms/app", "doc") for number in range(6)]
    await all_meet(tabs)
    await all_have(tabs, *await write(tabs, "before"))
    fleet[0].process.kill()
    await all_have(tabs, *await write(tabs, "meanwhile"))
    # A page that comes now finds the three on the worker that is left.
    late = await share(open_tab, site, fleet[1].ws + "/rooms/app", "doc")
    await all_have([*tabs, late], "meanwhile of page 5")
    await late.until("peers() >= 3")
    # Another worker in the place of the dead one: its pages subscribe again, and are found.
    await start(port=fleet[0].port, **common)
    for tab in tabs:
        await tab.until("signaling()")
    last = await share(open_tab, site, fleet[0].ws + "/rooms/app", "doc")
    await all_meet([*tabs, late, last])
    await all_have([*tabs, late, last], *await write([last], "last"))
