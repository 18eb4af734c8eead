"""One Chromium, two workers over one Redis, and a web server for test pages, shared by all tests in this folder.

They exist for the whole session, so every test of this folder runs in the session's event loop.
"""

import asyncio
import base64
import contextlib
import functools
import hashlib
import json
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import trustme
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request, async_playwright

from tests.conformance.sio import require_packages
from tests.fleet import RedisServer, Relay, eventually, require

HERE = Path(__file__).parent

# Pages that a test gives to the browser itself come from no address. Without the second feature that is off here, they
# would ask for the permission to reach this machine.
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
    "--disable-features=WebRtcHideLocalIpsWithMdns,LocalNetworkAccessChecks", "--allow-loopback-in-peer-connection",
]  # fmt: skip

# No address outside this machine is reachable, and every attempt fails at once: libraries load frames from servers
# of their authors, for which pages wait. A proxy from the environment would resolve names itself: it is not used.
HERE_ALONE = "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE *.localhost"
ALONE = [f"--host-resolver-rules={HERE_ALONE}", "--no-proxy-server"]

PATIENT = {"reconnect_grace": 15, "worker_lease": 10, "probe_timeout": 3, "publish_timeout": 5}
"""Timings as by default: browsers reconnect more slowly than other clients and leave little CPU time to workers."""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


_AT_A_TIME = 2
"""Scenes that run at the same time."""


@dataclass
class Tab:
    """A page in its own browser context, like that of another user, with its errors and requests."""

    page: Page
    context: BrowserContext
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    frames: list[str] = field(default_factory=list)
    """Frames received over WebSockets."""

    async def until(self, expression: str, argument: Any = None, timeout: float = 30) -> Any:
        """Wait until a JavaScript expression is true in the page; return its value."""
        # playwright's own wait_for_function does not work under a strict Content-Security-Policy.
        try:
            return await eventually(lambda: self.page.evaluate(expression, argument), timeout)
        except TimeoutError:
            errors = f"; errors: {self.errors}" if self.errors else ""
            raise AssertionError(f"{self.page.url}: not in {timeout} s: {expression} ({argument}){errors}") from None

    async def run(self, expression: str, argument: Any = None) -> Any:
        return await self.page.evaluate(expression, argument)

    async def get(self, url: str) -> Any:
        """The JSON that the page gets from a URL."""
        return await self.run("url => fetch(url).then((answer) => answer.json())", url)


OpenTab = Callable[..., Awaitable[Tab]]
Scene = Callable[[OpenTab, str, tuple[Relay, Relay]], Coroutine[Any, Any, None]]


@pytest.fixture(scope="session")
def packages() -> Path:
    """The folder of the packages that npm installed."""
    if not (HERE / "node_modules" / "datachannel").is_dir():
        reason = "the node packages are not installed; `make test` installs them"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return HERE / "node_modules"


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=directory))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def site(packages: Path) -> Iterator[str]:
    """The URL under which this folder is served: test pages, and the libraries that they load."""
    with serving(HERE) as url:
        yield url


@pytest.fixture(scope="session")
def tests_site(packages: Path) -> Iterator[str]:
    """The URL under which all of `tests/` is served: the pages, and the clients of the conformance tests."""
    require_packages("socket.io-client-4", "engine.io-client")
    with serving(HERE.parent) as url:
        yield url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def fleet(redis_server: RedisServer) -> AsyncIterator[tuple[Relay, Relay]]:
    """Two workers over one Redis."""
    common = {"redis_url": redis_server.url, "redis_prefix": f"relay:browser{os.getpid()}"}
    relays = Relay(**common, **PATIENT), Relay(**common, **PATIENT)
    try:
        for relay in relays:
            await relay.ready()
        yield relays
    finally:
        for relay in relays:
            relay.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        running = await launch(playwright)
        yield running
        await running.close()


async def launch(playwright: Playwright, *flags: str, **options: Any) -> Browser:
    """Start a Chromium that reaches nothing outside this machine."""
    arguments = [*FLAGS, *ALONE, *flags]
    return await playwright.chromium.launch(executable_path=require("chromium"), args=arguments, **options)


def trusting(issued: trustme.LeafCert) -> str:
    """Return the flag of a Chromium that trusts this certificate."""
    public = load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).public_key()
    digest = hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    return f"--ignore-certificate-errors-spki-list={base64.b64encode(digest).decode()}"


@pytest_asyncio.fixture(loop_scope="session")
async def open_tab(browser: Browser) -> AsyncIterator[OpenTab]:
    async with tabs_of(browser) as open_tab:
        yield open_tab


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def begun(
    request: pytest.FixtureRequest, browser: Browser, site: str, fleet: tuple[Relay, Relay]
) -> AsyncIterator[dict[Scene, asyncio.Task[None]]]:
    """The selected scenes of this module as tasks, a few at a time: the libraries mostly wait."""
    stage = asyncio.Semaphore(_AT_A_TIME)

    async def play(scene: Scene) -> None:
        async with stage, tabs_of(browser) as open_tab:
            await scene(open_tab, site, fleet)

    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    scenes = [item.callspec.params["scene"] for item in items if item.module is request.module]
    tasks = {scene: asyncio.create_task(play(scene)) for scene in scenes}
    yield tasks
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)


@asynccontextmanager
async def tabs_of(browser: Browser) -> AsyncIterator[OpenTab]:
    """Opens pages: `open_tab(url)`. With `strict`, an error in the page's console fails the test at its end.

    The page finds `relay` as `window.RELAY`. It is not part of the address, from which libraries make channel names.
    """
    tabs: list[tuple[Tab, bool]] = []

    async def open_tab(
        url: str, *, strict: bool = True, relay: Any = None, frames: bool = False, **options: Any
    ) -> Tab:
        context = await browser.new_context(permissions=["camera", "microphone", "clipboard-write"], **options)
        await context.add_init_script(f"window.RELAY = {json.dumps(relay)}")
        tab = Tab(await context.new_page(), context)
        tabs.append((tab, strict))
        tab.page.on("pageerror", lambda error: tab.errors.append(str(error)))
        tab.page.on("console", lambda message: _note(tab, message))
        tab.page.on("request", lambda request: _ask(tab, request))
        if frames:
            tab.page.on(
                "websocket", lambda socket: socket.on("framereceived", lambda frame: tab.frames.append(str(frame)))
            )
        await tab.page.goto(url)
        return tab

    yield open_tab
    for tab, _ in tabs:
        with contextlib.suppress(Exception):
            await tab.context.close()
    assert not [error for tab, strict in tabs if strict for error in tab.errors]


def _note(tab: Tab, message: ConsoleMessage) -> None:
    if message.type in {"error", "warning"}:
        tab.errors.append(f"{message.type}: {message.text}")


def _ask(tab: Tab, request: Request) -> None:
    tab.requests.append(request.url)
