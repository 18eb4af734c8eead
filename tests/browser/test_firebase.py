"""Firebase in Chromium, on two workers: both generations of the library over each transport, and its users.

RTCMultiConnection 2.2.5 and DataChannel.js signal by firebase 2.4.2 where they are not told otherwise.
"""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trustme
from playwright.async_api import async_playwright

from tests.blocking_network import BlockingNetwork
from tests.browser.conftest import FLAGS, HERE_ALONE, PATIENT, OpenTab, Tab, tabs_of, trusting
from tests.documentation import snippet
from tests.fleet import RedisServer, Relay, eventually, require

pytestmark = pytest.mark.asyncio(loop_scope="session")

Fleet = tuple[Relay, Relay]


async def visit(open_tab: OpenTab, site: str, relay: Relay) -> Tab:
    """Open a page whose address of Firebase leads to this worker; Chromium resolves the name by itself."""
    address = f"http://demo.relay.localhost:{relay.port}"
    # The library's last line is for modules, and fails in a page.
    return await open_tab(f"{site}/pages/firebase.html", strict=False, relay=address)


async def talk(a: Tab, b: Tab) -> None:
    for tab in (a, b):
        await tab.until("opened.length === 1", timeout=40)
    await a.run("connection.send('from a: \\u2603')")
    await b.run("connection.send('from b')")
    assert await b.until("heard[0]") == "from a: \u2603"
    assert await a.until("heard[0]") == "from b"


async def test_rtcmulticonnection_opens_a_data_channel(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    a, b = [await visit(open_tab, site, relay) for relay in fleet]
    await a.run("void multi('firebase-multi').open('session')")
    await b.run("void multi('firebase-multi').connect('session')")
    await talk(a, b)


async def test_datachannel_finds_who_is_there_and_opens_a_data_channel(
    open_tab: OpenTab, site: str, fleet: Fleet
) -> None:
    a, b = [await visit(open_tab, site, relay) for relay in fleet]
    await a.run("void channel('firebase-channel')")
    # The second page comes when the first one has announced its session.
    await a.until("connection.isInitiator === true && connection.socket")
    await b.run("void channel('firebase-channel')")
    await talk(a, b)


async def enter(open_tab: OpenTab, site: str, port: int, kind: str, *, polls: bool = False) -> Tab:
    """Open a page with a client of this kind; with `polls`, it does not try a WebSocket."""
    tab = await open_tab(f"{site}/pages/firebase-sdk.html", strict=False, relay=port, frames=True)
    await tab.until("window.connect !== undefined")
    await tab.run("([kind, polls]) => connect(kind, polls)", [kind, polls])
    return tab


async def exchange(ann: Tab, bob: Tab, room: str) -> None:
    """Each hears the other's children, once and in order; a value may be larger than one request."""
    await bob.run("(room) => client.listen(`${room}/chat`)", room)
    await ann.run("(room) => client.listen(`${room}/chat`)", room)
    for number in range(3):
        await ann.run("([room, number]) => client.push(`${room}/chat`, { number })", [room, number])
    # A page shows its own child at once.
    await bob.until("events.length === 3", timeout=60)
    mine = await bob.run("(room) => client.push(`${room}/chat`, 'from bob')", room)
    for tab in (ann, bob):
        await tab.until("events.length >= 4", timeout=60)
        assert [value for _, _, value in await tab.run("events")] == [*({"number": n} for n in range(3)), "from bob"]
        assert {kind for kind, _, _ in await tab.run("events")} == {"child_added"}
    text = "é☃" * 10_000
    await ann.run("([room, text]) => client.set(`${room}/text`, text)", [room, text])
    assert await bob.run("(room) => client.once(`${room}/text`)", room) == text
    await ann.run("([room, mine]) => client.update(`${room}/chat`, { [mine]: 'changed' })", [room, mine])
    await bob.until("events.at(-1)[0] === 'child_changed' && events.at(-1)[2] === 'changed'")
    won = [await tab.run("(room) => client.claim(`${room}/owner`, 'me')", room) for tab in (ann, bob)]
    assert sorted(won) == [False, True]
    assert await ann.run("events.length") == await bob.run("events.length") == 5


async def leave(ann: Tab, bob: Tab, room: str) -> None:
    """The changes that a page has prepared for its end are made when it is closed."""
    await ann.run("(room) => client.set(`${room}/chat/ann`, 'here')", room)
    await ann.run("(room) => client.removeAtEnd(`${room}/chat/ann`)", room)
    await ann.context.close()
    await bob.until("events.at(-1)[0] === 'child_removed' && events.at(-1)[1] === 'ann'", timeout=60)


@pytest.mark.parametrize("kind", ["2", "today"])
async def test_children_and_values_over_websockets(open_tab: OpenTab, site: str, fleet: Fleet, kind: str) -> None:
    ann, bob = [await enter(open_tab, site, relay.port, kind) for relay in fleet]
    await exchange(ann, bob, f"websockets-{kind}")
    assert not [url for tab in (ann, bob) for url in tab.requests if "/.lp" in url]
    await leave(ann, bob, f"websockets-{kind}")


@pytest.mark.parametrize("kind", ["2", "today"])
async def test_children_and_values_by_long_polling(open_tab: OpenTab, site: str, fleet: Fleet, kind: str) -> None:
    """One page polls; the other one, on the other worker, has a WebSocket."""
    ann = await enter(open_tab, site, fleet[0].port, kind, polls=True)
    bob = await enter(open_tab, site, fleet[1].port, kind)
    await exchange(ann, bob, f"polls-{kind}")
    assert [url for url in ann.requests if "/.lp" in url]
    assert not ann.frames
    await leave(ann, bob, f"polls-{kind}")


@pytest.mark.parametrize("kind", ["2", "today"])
async def test_pages_poll_where_websockets_are_blocked(open_tab: OpenTab, site: str, fleet: Fleet, kind: str) -> None:
    async with BlockingNetwork(fleet[0].port) as near, BlockingNetwork(fleet[1].port) as far:
        ann, bob = [await enter(open_tab, site, network.port, kind) for network in (near, far)]
        for tab in (ann, bob):
            await tab.until("connected.at(-1) === true", timeout=60)
        await exchange(ann, bob, f"blocked-{kind}")
        assert near.refused
        assert far.refused
        assert not [frame for tab in (ann, bob) for frame in tab.frames]
        await leave(ann, bob, f"blocked-{kind}")


async def test_the_snippet_of_the_rest_interface(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    tab = await open_tab(f"{site}/pages/blank.html")
    said: list[str] = []
    tab.page.on("console", lambda message: said.append(message.text))
    script = snippet("firebase-rest").replace("http://localhost:8888/lobby", f"{fleet[0].http}/rest-snippet")
    found = await tab.run(f"async () => {{ {script}; return Object.values(messages) }}")
    assert found == ["hello by REST"]
    await eventually(lambda: _is_true(said == ["/"]))


async def _is_true(value: bool) -> bool:
    return value


async def test_unchanged_pages_reach_a_relay_that_has_the_name_and_its_certificate(
    site: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    """The hosts entry is one of the browser, which trusts the certificate of an authority that the test has made."""
    authority = trustme.CA()
    issued = authority.issue_cert("*.firebaseio.com")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    trust = trusting(issued)
    relays: list[Relay] = []
    async with AsyncExitStack() as stack:
        playwright = await stack.enter_async_context(async_playwright())
        tabs = []
        for _ in range(2):
            common = {"redis_url": redis_server.url, "redis_prefix": "relay:firebase-names", **PATIENT}
            relays.append(Relay(tls_cert=str(cert), tls_key=str(key), **common))
            stack.callback(relays[-1].close)
            await relays[-1].ready()
            rules = f"--host-resolver-rules=MAP *.firebaseio.com 127.0.0.1:{relays[-1].port}, {HERE_ALONE}"
            browser = await playwright.chromium.launch(
                executable_path=require("chromium"), args=[*FLAGS, rules, trust, "--no-proxy-server"]
            )
            stack.push_async_callback(browser.close)
            open_tab = await stack.enter_async_context(tabs_of(browser))
            tabs.append(await open_tab(f"{site}/pages/firebase.html", strict=False))
        a, b = tabs
        await a.run("void multi('firebase-names').open('session')")
        await b.run("void multi('firebase-names').connect('session')")
        await talk(a, b)
