"""The page of docs/same-origin.md in Chromium: it names no host, and is served beside the relay in each way."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import OpenTab
from tests.conformance.sio import HERE as CLIENTS
from tests.conformance.sio import require_packages
from tests.conftest import new_prefix
from tests.documentation import snippet
from tests.fleet import eventually
from tests.front_ends import WAYS, one_origin

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCRIPTS = {
    "socket.io.js": "socket.io-client-4/dist/socket.io.js",
    "peerjs.min.js": "peerjs/dist/peerjs.min.js",
}
SAID = {"Socket.IO: hello", "EventSource: hello", "relay.js: hello", "PeerJS: alice"}


@pytest.fixture(params=WAYS)
def url(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> Iterator[str]:
    require_packages("socket.io-client-4", "peerjs")
    page, folder = tmp_path / "page", tmp_path / "proxy"
    page.mkdir()
    folder.mkdir()
    (page / "index.html").write_text("<!doctype html><title>page</title>" + snippet("same-origin-page"))
    for name, place in SCRIPTS.items():
        shutil.copy(CLIENTS / "node_modules" / place, page / name)
    way = request.param
    configuration = "" if way == "static" else snippet(f"same-origin-{way}")
    options = ("--redis-url", redis_url, "--redis-prefix", new_prefix(), "--socketio-client-url", "/socket.io.js")
    with one_origin(way, configuration, page, folder, *options) as found:
        yield found


async def test_a_page_without_a_host_in_its_addresses(url: str, open_tab: OpenTab) -> None:
    said: list[str] = []
    tab = await open_tab("about:blank", strict=False)
    tab.page.on("console", lambda message: said.append(message.text))
    await tab.page.goto(f"{url}/")
    await tab.until("socket.connected && websocket.readyState === WebSocket.OPEN && room.connected && peer.open")
    await tab.until("events.readyState === EventSource.OPEN")
    assert await tab.run("location.pathname") == "/"

    async def heard() -> bool:
        # The stream is open a moment before its place is.
        await tab.run("send()")
        return set(said) >= SAID

    await eventually(heard, 30)
    await tab.run("void socket.emit('message', {message: 'back'})")
    await eventually(lambda: "WebSocket: back" in said, 30)
    hosts = {request.split("/")[2] for request in tab.requests if request.startswith("http")}
    assert hosts == {url.removeprefix("http://")}
