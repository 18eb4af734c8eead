"""The test cases of PeerJS's own suites, in Chromium and on two workers; their table is in conformance/results."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.browser.conftest import OpenTab
from tests.conformance.case_table import PEERJS
from tests.conformance.sio import require_packages
from tests.fleet import Proxy, Relay

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def later(fleet: tuple[Relay, Relay]) -> AsyncIterator[Proxy]:
    """Leads to a worker, once it does not refuse connections any more."""
    async with Proxy(fleet[0].port) as proxy:
        proxy.refusing = True
        yield proxy


@pytest.mark.timeout(240)
async def test_every_case_ends_as_the_table_says(
    later: Proxy, open_tab: OpenTab, tests_site: str, fleet: tuple[Relay, Relay]
) -> None:
    require_packages("peerjs")
    addresses = {"workers": [relay.http for relay in fleet], "later": f"http://127.0.0.1:{later.port}"}
    tab = await open_tab(f"{tests_site}/browser/pages/peerjs-cases.html", relay=addresses, strict=False)
    await tab.page.expose_function("startServer", lambda: setattr(later, "refusing", False))
    await tab.until("typeof begin === 'function'")
    await tab.run("void begin()")
    await tab.until("window.over", timeout=200)
    PEERJS.agree(await tab.run("played"))
