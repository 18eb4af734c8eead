"""The browser of these tests reaches nothing outside this machine, not even through a proxy in its environment."""

import asyncio
import os

import pytest
from playwright.async_api import async_playwright

from tests.browser.conftest import launch, tabs_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_page_that_asks_for_an_address_outside_gets_an_error_at_once(packages, site: str) -> None:
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    variables = {name: address for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")}
    async with server, async_playwright() as playwright:
        browser = await launch(playwright, env={**os.environ, **variables})
        async with tabs_of(browser) as open_tab:
            tab = await open_tab(f"{site}/pages/blank.html", strict=False)
            for url in ("https://cdn.webrtc-experiment.com/getIceServers/", "http://192.0.2.1/"):
                reason = await tab.run("url => fetch(url, { mode: 'no-cors' }).catch((error) => error.name)", url)
                assert reason == "TypeError"
        await browser.close()
    assert asked == []
