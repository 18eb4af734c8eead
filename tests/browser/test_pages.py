"""The page at / and the demo: by mouse, by keyboard, on a phone, and under attack."""

import asyncio
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.browser.conftest import OpenTab, Tab
from tests.fleet import Client, Relay

pytestmark = pytest.mark.asyncio(loop_scope="session")

Fleet = tuple[Relay, Relay]

DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 360, "height": 740}
EVIL = '<img src=x onerror="window.harmed=1"><script>window.harmed=1</script>'


async def violations(tab: Tab, packages: Path) -> list[tuple[str, list[str]]]:
    """The violations that axe-core finds in a page with all of its rules."""
    await tab.run((packages / "axe-core" / "axe.min.js").read_text())
    found: list[dict[str, Any]] = await tab.run("axe.run().then(({ violations }) => violations)")
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]


async def enter(tab: Tab, name: str, room: str = "") -> None:
    if room:
        await tab.page.fill("#room", room)
    await tab.page.fill("#name", name)
    await tab.page.press("#name", "Enter")
    await tab.until("!document.getElementById('inside').hidden")


async def say(tab: Tab, text: str) -> None:
    await tab.page.fill("#text", text)
    await tab.page.press("#text", "Enter")


async def chat(tab: Tab, line: str) -> None:
    """Wait until the chat shows a line."""
    await tab.until("line => [...document.querySelectorAll('#chat li')].some((one) => one.textContent === line)", line)


def alone(tab: Tab, relay: Relay) -> None:
    """Check that the page has requested nothing from another server."""
    assert {url.split("/")[2] for url in tab.requests} == {f"127.0.0.1:{relay.port}"}


@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESKTOP), ("dark", PHONE)], ids=["desktop", "phone"])
async def test_both_pages_are_accessible(
    open_tab: OpenTab, fleet: Fleet, packages: Path, scheme: str, viewport: dict[str, int]
) -> None:
    relay = fleet[0]
    tab = await open_tab(relay.http, color_scheme=scheme, viewport=viewport)
    fits = "document.documentElement.scrollWidth <= innerWidth"
    await tab.until("document.getElementById('ready').textContent === 'Ready'")
    assert await violations(tab, packages) == []
    assert await tab.run(fits)
    await tab.page.goto(f"{relay.http}/demo?room=everybody-{scheme}-{viewport['width']}")
    assert await violations(tab, packages) == []
    await enter(tab, "Ada")
    await say(tab, "hello")
    await tab.page.click("#call")
    await tab.until("document.querySelectorAll('video').length === 1")
    await tab.page.click("#drop")
    await tab.until("document.querySelectorAll('#happened li').length === 3")
    assert await violations(tab, packages) == []
    assert await tab.run(fits)
    alone(tab, relay)


async def test_the_demo_two_people_meet_call_and_come_back(open_tab: OpenTab, fleet: Fleet) -> None:
    ada, bob = [await open_tab(f"{relay.http}/demo") for relay in fleet]
    await enter(ada, "Ada", "garden")
    link = await ada.run("location.href")
    assert link == f"{fleet[0].http}/demo?room=garden"
    await bob.page.goto(link.replace(fleet[0].http, fleet[1].http))
    assert await bob.page.input_value("#room") == "garden"
    await enter(bob, "Bob")
    people = "[...document.querySelectorAll('#people li')].map((one) => one.textContent).join()"
    await ada.until(f"{people} === 'Ada (you),Bob'")
    await bob.until(f"{people} === 'Bob (you),Ada'")
    for tab in (ada, bob):
        await tab.page.click("#call")
    for tab in (ada, bob):
        await tab.until("""() => {
            const shown = [...document.querySelectorAll('video')].filter((video) => video.videoWidth > 0);
            return shown.length === 2 && shown.every((video) => video.getVideoPlaybackQuality().totalVideoFrames > 5);
        }""")  # fmt: skip
    await ada.page.click("#drop")
    await say(bob, "are you there?")
    await chat(ada, "Bobare you there?")
    await say(ada, "never left")
    await chat(bob, "Adanever left")
    log = "document.getElementById('happened').textContent"
    await ada.until(f"{log}.includes('Disconnected') && {log}.includes('nobody noticed')")
    assert "left" not in await bob.run(log)
    assert await ada.run("document.querySelectorAll('#chat li').length") == 2
    await bob.page.click("#leave")
    await ada.until(f"{people} === 'Ada (you)' && {log}.includes('Bob left')")
    await ada.until("document.querySelectorAll('video').length === 1")
    # Wait until the page of the member that left has loaded again.
    await bob.until("!document.getElementById('enter').hidden")


async def test_a_room_that_cannot_be_is_said_to_be_none(open_tab: OpenTab, fleet: Fleet) -> None:
    tab = await open_tab(f"{fleet[0].http}/demo?room=..")
    await tab.page.fill("#name", "Ada")
    await tab.page.press("#name", "Enter")
    await tab.until("!document.getElementById('problem').hidden")
    await enter(tab, "Ada", "after-all")
    assert await tab.run("document.getElementById('people').textContent") == "Ada (you)"


async def test_texts_of_others_stay_text(open_tab: OpenTab, fleet: Fleet) -> None:
    relay = fleet[0]
    tab = await open_tab(f"{relay.http}/demo?room={quote(EVIL)}")
    assert await tab.page.input_value("#room") == EVIL
    await tab.page.fill("#name", EVIL)
    await tab.page.press("#name", "Enter")
    # A room may have such a name. The page shows it as text, and its link leads there.
    await tab.until("!document.getElementById('inside').hidden")
    assert await tab.run("document.getElementById('room-title').textContent") == EVIL
    assert await tab.run("new URLSearchParams(location.search).get('room')") == EVIL
    await tab.page.goto(f"{relay.http}/demo?room=evil")
    await enter(tab, EVIL[:40])
    await tab.page.click("#call")
    await tab.until("document.querySelectorAll('video').length === 1")
    stranger = await Client.open(f"{relay.ws}/rooms/evil?peer=(x)")
    for channel, message in (("demo.name", EVIL[:40]), ("demo.chat", EVIL), ("demo.chat", {"toString": 1})):
        await stranger.send({"channel": channel, "message": message})
    await stranger.send({"channel": "relay.mesh", "message": {"hello": EVIL}})
    offer = (await stranger.until(lambda frame: "description" in (frame.get("message") or "")))[-1]["message"]
    assert offer["to"] == EVIL
    for harm in ("description", "candidate"):
        await stranger.send({"channel": "relay.mesh", "message": {"by": EVIL, "to": offer["by"], harm: EVIL}})
    await chat(tab, EVIL[:40] + EVIL)
    await chat(tab, EVIL[:40] + '{"toString":1}')
    await stranger.ask({"channel": "demo.chat", "message": "last"})
    await chat(tab, f"{EVIL[:40]}last")
    assert await tab.run("window.harmed") is None
    assert await tab.run("document.querySelectorAll('#inside img, #inside script').length") == 0
    await stranger.close()


async def test_the_page_by_keyboard_and_its_snippets(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    tab = await open_tab(fleet[0].http)
    await tab.page.focus("[role=tab][aria-selected=true]")
    names = await tab.run("[...document.querySelectorAll('[role=tab]')].map((one) => one.textContent)")
    libraries = ["relay.js", "Video call", "WebSocket", "RTCMultiConnection", "DataChannel.js", "Yjs"]
    applications = ["Socket.IO", "RTCMultiConnection 3", "SimpleWebRTC"]
    others = ["PeerJS", "Plain HTTP", "XHR-Signaling", "SignalR 2", "XMPP", "SignalR", "SIP", "WebSync", "Firebase"]
    assert names == [*libraries, *applications, *others]
    for name in names:
        shown = "[...document.querySelectorAll('[role=tabpanel]')].filter((one) => !one.hidden).map((one) => one.id)"
        selected = await tab.run("document.activeElement.textContent")
        assert (selected, len(await tab.run(shown))) == (name, 1)
        await tab.page.keyboard.press("ArrowRight")
    assert await tab.run("document.activeElement.textContent") == names[0]
    blocks = "[...document.querySelectorAll('pre')].map((one) => [one.getAttribute('aria-label'), one.textContent])"
    snippets = await tab.run(f"Object.fromEntries({blocks})")
    assert list(snippets) == names
    for snippet in snippets.values():
        assert fleet[0].ws in snippet or fleet[0].http in snippet
    await run_snippets(open_tab, site, fleet, snippets)


async def run_snippets(open_tab: OpenTab, site: str, fleet: Fleet, snippets: dict[str, str]) -> None:
    """Each in a page of its own; they meet in the room that all of them name."""
    libraries = {
        "RTCMultiConnection": "rtcmulticonnection", "DataChannel": "datachannel", "socket.io": "socket.io/client-dist",
        "simplewebrtc-with-adapter.bundle": "simplewebrtc-3/out",
    }  # fmt: skip
    witness = await Client.open(f"{fleet[1].ws}/rooms/lobby?presence=1&peer=witness")
    said: list[str] = []

    async def run(name: str) -> Tab:
        text = snippets[name]
        for library, package in libraries.items():
            text = text.replace(f'src="{library}.js"', f'src="{site}/node_modules/{package}/{library}.js"')
        # The scripts of WebSync are in no registry: one stands in for all of them.
        text = re.sub(r'<script src="fm\.websync[a-z.]*"></script>\n', "", text)
        text = text.replace('src="fm.js"', f'src="{site}/pages/websync.js"')
        if name == "Firebase":
            text = f'<script src="{site}/node_modules/firebase-2/lib/firebase-web.js"></script>{text}'
        tab = await open_tab(f"{site}/pages/blank.html", strict=False)
        tab.page.on("console", lambda message: said.append(message.text))
        await tab.page.set_content(f"<!doctype html><body>{text}</body>")
        return tab

    first = await run("relay.js")
    await witness.until(lambda event: event.get("joined"))
    await run("WebSocket")
    heard = await witness.until(lambda event: event.get("channel") == "chat")
    assert heard[-1]["message"] == "hello"
    await run("Socket.IO")
    heard = await witness.until(lambda event: event.get("channel") == "chat")
    assert heard[-1]["message"] == "hello from Socket.IO"
    await run("XHR-Signaling")
    await witness.until(lambda event: event.get("message") == "hello by XHR")
    await run("WebSync")
    await witness.until(lambda event: event.get("message") == "hello by WebSync")
    await run("Firebase")
    await witness.until(lambda event: event.get("message") == "hello by Firebase")
    await run("SimpleWebRTC")
    await witness.until(lambda event: any("simplewebrtc" in info for info in event.get("info", {}).values()), 30)
    multi, *_ = await asyncio.gather(*map(run, ("RTCMultiConnection", "Video call", "DataChannel.js")))
    wanted = {"hello", "roomToken"}
    await witness.until(lambda event: wanted.difference_update(event.get("message") or ()) or not wanted)
    await multi.until("connection.openSignalingChannel === relay.openSignalingChannel")
    assert await first.run("room.members.includes('witness')")
    assert any("witness" in line for line in said)
    await witness.close()
