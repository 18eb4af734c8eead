"""The clients' own test cases that need a page, in Chromium; tests/conformance/test_client_cases.py has the others."""

from collections.abc import Iterator

import pytest

from tests.browser.conftest import OpenTab
from tests.conformance.case_table import ENGINEIO, SOCKETIO
from tests.fleet import Relay

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def small() -> Iterator[Relay]:
    """A relay with low limits."""
    relay = Relay(max_message=256, reconnect_grace=5)
    yield relay
    relay.close()


async def test_every_case_ends_as_the_tables_say(open_tab: OpenTab, tests_site: str, small: Relay) -> None:
    await small.ready()
    tab = await open_tab(f"{tests_site}/browser/pages/cases.html", relay=small.http, strict=False)
    await tab.until("window.over")
    SOCKETIO.agree_in_page(await tab.run("socketio"))
    ENGINEIO.agree_in_page(await tab.run("engineio"))
