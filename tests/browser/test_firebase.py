"""RTCMultiConnection 2.2.5 and DataChannel.js with their own signaling, Firebase, in Chromium, on two workers."""

import base64
import hashlib
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate
from playwright.async_api import async_playwright

from tests.browser.conftest import FLAGS, HERE_ALONE, PATIENT, OpenTab, Tab, tabs_of
from tests.fleet import RedisServer, Relay, require

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


async def test_unchanged_pages_reach_a_relay_that_has_the_name_and_its_certificate(
    site: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    """The hosts entry is one of the browser, which trusts the certificate of an authority that the test has made."""
    authority = trustme.CA()
    issued = authority.issue_cert("*.firebaseio.com")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    public = load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).public_key()
    digest = hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    trust = f"--ignore-certificate-errors-spki-list={base64.b64encode(digest).decode()}"
    relays: list[Relay] = []
    async with AsyncExitStack() as stack:
        playwright = await stack.enter_async_context(async_playwright())
        tabs = []
        for _ in range(2):
            common = {"redis_url": redis_server.url, "redis_prefix": "firebase-names", **PATIENT}
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
