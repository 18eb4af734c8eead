"""JsSIP and SIP.js in Chromium, unmodified: audio calls between pages on two workers."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Error

from tests.browser.conftest import PATIENT, OpenTab, Tab
from tests.chaos.network import Network
from tests.conformance.sio import require_packages
from tests.fleet import RedisServer, Relay
from tests.sip_phones import LIBRARIES, PAIRS, Happening, Phones

pytestmark = pytest.mark.asyncio(loop_scope="session")

_numbers = itertools.count()

_LOADS = 5
"""Attempts to load a library."""


class TabPhones(Phones):
    """Phones in pages, one in each; all of a test are in a room of their own."""

    def __init__(self, open_tab: OpenTab, site: str) -> None:
        super().__init__()
        self._open_tab, self._site = open_tab, site
        self._room = f"sip-{next(_numbers)}"
        self._tabs: dict[str, Tab] = {}
        self._seen: dict[str, int] = {}

    async def create(
        self, client: str, user: str, *relays: Relay | str, library: str = "jssip", room: str = "", **options: Any
    ) -> None:
        self._tabs[client] = await self._open_tab(f"{self._site}/browser/pages/sip.html", strict=False)
        await self._load(self._tabs[client], library)
        await super().create(client, user, *relays, library=library, room=self._room, **options)

    async def _load(self, tab: Tab, library: str) -> None:
        """Load a library, again if the page or a module was lost: a network of the machine may change meanwhile."""
        for attempt in range(_LOADS):
            try:
                if attempt:
                    await tab.page.reload()
                await tab.until("window.ready")
                await tab.run("library => prepare(library)", library)
                return
            except Error:
                continue
        pytest.fail(f"{library} could not be loaded: {tab.errors}")

    async def do(self, client: str, what: str, **fields: Any) -> None:
        await self._tabs[client].run("([what, fields]) => act(what, fields)", [what, fields])

    async def happened(self, client: str) -> Happening:
        number = self._seen.get(client, 0)
        self._seen[client] = number + 1
        found: Happening = await self._tabs[client].until("number => happened[number]", number)
        return found

    async def hear(self, *clients: str) -> None:
        """Wait until more audio has arrived at each of these pages."""
        for client in clients:
            tab = self._tabs[client]
            before = await tab.run("heard()")
            await tab.until("async (before) => await heard() > before", before)


@pytest_asyncio.fixture(loop_scope="session")
async def phones(open_tab: OpenTab, tests_site: str) -> TabPhones:
    require_packages("jssip", "sip.js")
    return TabPhones(open_tab, tests_site)


@pytest.mark.parametrize(("caller", "callee"), PAIRS)
async def test_a_call(phones: TabPhones, fleet: tuple[Relay, Relay], caller: str, callee: str) -> None:
    """Audio, hold, DTMF, INFO, MESSAGE, a callee that is busy, a call that is cancelled, and BYE of both sides."""
    alice = await phones.open("alice", fleet[0], library=caller)
    bob = await phones.open("bob", fleet[1], library=callee)
    await phones.call(alice, bob)
    await phones.hear(alice, bob)
    await phones.use_the_call(alice, bob)
    await phones.hear(alice, bob)
    await phones.hang_up(alice, bob)
    await phones.do(bob, "message", to="alice", body="é ☃")
    await phones.until(alice, "message", body="é ☃", **{"from": "bob"})
    await phones.until(bob, "sent")
    await phones.do(bob, "call", to="alice")
    await phones.until(alice, "call")
    await phones.do(alice, "reject")
    await phones.is_refused(bob, "Busy", 486)
    await phones.do(bob, "call", to="alice")
    await phones.until(alice, "call")
    await phones.do(bob, "end")
    await phones.is_over(alice)
    await phones.call(alice, bob)
    await phones.hang_up(bob, alice)


async def test_a_call_rings_on_two_devices(phones: TabPhones, fleet: tuple[Relay, Relay]) -> None:
    alice = await phones.open("alice", fleet[0])
    devices = [
        await phones.open("bob", fleet[number], library=library, name=f"bob-{library}")
        for number, library in enumerate(LIBRARIES)
    ]
    await phones.do(alice, "call", to="bob")
    for device in devices:
        await phones.until(device, "call")
    await phones.do("bob-sipjs", "answer")
    for one in (alice, "bob-sipjs"):
        await phones.until_in_call(one)
    await phones.is_over("bob-jssip")
    await phones.hang_up(alice, "bob-sipjs")


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("attended", [False, True], ids=["blind", "attended"])
async def test_a_call_is_transferred(
    phones: TabPhones, fleet: tuple[Relay, Relay], library: str, attended: bool
) -> None:
    """REFER and NOTIFY of one library, or of the other; attended with Replaces (RFC 3891)."""
    alice = await phones.open("alice", fleet[0], library=library)
    bob = await phones.open("bob", fleet[1], library=library)
    carol = await phones.open("carol", fleet[1], library=library)
    await phones.call(alice, bob)
    if attended:
        await phones.call(alice, carol)
        await phones.transfer_attended(alice, bob, carol)
    else:
        await phones.transfer(alice, bob, carol)
    await phones.hear(bob, carol)
    if attended:
        # The call that the new one replaces.
        await phones.until(carol, "ended")
        # SIP.js has called the target by its Contact, which is its name in this call.
        await phones.hang_up(carol, bob)


@pytest_asyncio.fixture(loop_scope="session")
async def network(redis_server: RedisServer) -> AsyncIterator[tuple[list[Relay], list[Network]]]:
    """Two workers of this test alone, each behind a network that may lead to the other one."""
    prefix = f"relay:sip{next(_numbers)}"
    async with AsyncExitStack() as stack:
        relays = [Relay(redis_url=redis_server.url, redis_prefix=prefix, **PATIENT) for _ in range(2)]
        for relay in relays:
            stack.callback(relay.close)
        networks = [await stack.enter_async_context(Network(relay.port)) for relay in relays]
        await asyncio.gather(*[relay.ready() for relay in relays])
        yield relays, networks


def url(network: Network) -> str:
    return f"ws://127.0.0.1:{network.port}"


@pytest.mark.parametrize("callee", LIBRARIES)
async def test_the_socket_of_the_callee_is_reset(
    phones: TabPhones, network: tuple[list[Relay], list[Network]], callee: str
) -> None:
    """In the middle of a call, which goes on, and in which BYE arrives."""
    _, (here, there) = network
    alice = await phones.open("alice", url(here))
    bob = await phones.open("bob", url(there), library=callee)
    await phones.call(alice, bob)
    there.reset()
    await phones.until(bob, "disconnected")
    await phones.hear(alice, bob)
    # The callee comes back over the other worker.
    there.target = here.target
    await phones.until(bob, "registered")
    await phones.use_the_call(alice, bob)
    await phones.hang_up(alice, bob)


@pytest.mark.parametrize(
    ("caller", "callee", "killed"),
    [("sipjs", "jssip", "caller"), ("jssip", "sipjs", "callee"), ("sipjs", "sipjs", "callee")],
)
async def test_a_worker_is_killed_while_it_rings(
    phones: TabPhones, network: tuple[list[Relay], list[Network]], caller: str, callee: str, killed: str
) -> None:
    """Between INVITE and 200: the call goes on, and BYE arrives. JsSIP ends such a call if its own socket is lost."""
    relays, (here, there) = network
    alice = await phones.open("alice", url(here), library=caller)
    bob = await phones.open("bob", url(there), library=callee)
    await phones.do(alice, "call", to="bob")
    await phones.until(bob, "call")
    lost, gone, left = (alice, here, there) if killed == "caller" else (bob, there, here)
    gone.target = left.target
    relays[0 if killed == "caller" else 1].signal(9)
    await phones.until(lost, "disconnected")
    await phones.until(lost, "registered")
    await phones.do(bob, "answer")
    for one in (alice, bob):
        await phones.until_in_call(one)
    await phones.hear(alice, bob)
    await phones.use_the_call(alice, bob)
    await phones.hang_up(bob if lost == alice else alice, lost)


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_worker_is_killed_in_a_call(
    phones: TabPhones, network: tuple[list[Relay], list[Network]], library: str
) -> None:
    """The callee of that worker comes back over the other one; audio never stops, and BYE arrives."""
    relays, (here, there) = network
    alice = await phones.open("alice", url(here))
    bob = await phones.open("bob", url(there), library=library)
    await phones.call(alice, bob)
    there.target = here.target
    relays[1].signal(9)
    await phones.until(bob, "disconnected")
    await phones.hear(alice, bob)
    await phones.until(bob, "registered")
    await phones.use_the_call(alice, bob)
    await phones.hang_up(alice, bob)
