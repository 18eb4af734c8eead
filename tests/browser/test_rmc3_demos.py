"""The demos of RTCMultiConnection with version 3.7.1 of it, whose pages are on two workers.

Only the line of a demo that sets `socketURL` is changed. The package of 3.7.1 has no demos, so these are of the newest
one that has. With RTCMULTICONNECTION_DEMOS, the folder of demos in a checkout, those are driven instead.
"""

import mimetypes
import os
import re
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.async_api import Route

from tests.browser.conftest import HERE, OpenTab, Tab
from tests.fleet import Relay

pytestmark = pytest.mark.asyncio(loop_scope="session")

Fleet = tuple[Relay, Relay]

PACKAGES = HERE / "node_modules"
LIBRARY = PACKAGES / "rtcmulticonnection3"
CHECKOUT = os.environ.get("RTCMULTICONNECTION_DEMOS", "")
DEMOS = Path(CHECKOUT) if CHECKOUT else PACKAGES / "rtcmulticonnection3-demos" / "demos"
SOCKET_IO = HERE.parent / "conformance" / "node_modules" / "socket.io-client-4" / "dist" / "socket.io.js"
PATIENCE = 120

TEXT, AUDIO, VIDEO = "text", "audio", "video"

PACKAGED = {
    "TextChat+FileSharing": TEXT,
    "Audio+Video+TextChat+FileSharing": TEXT,
    "Audio-Conferencing": AUDIO,
    "Video-Conferencing": VIDEO,
    "video-broadcasting": VIDEO,
    "getStats": VIDEO,
    "StreamHasData": VIDEO,
    "applyConstraints": VIDEO,
    "autoCreateMediaElement": VIDEO,
    "change-resolutions": VIDEO,
    "custom-socket-event": VIDEO,
    "Scalable-Broadcast": VIDEO,
}
"""The demos of the package, and how each shows that two pages have met."""

CHECKED_OUT = {
    "text-chat-file-sharing": TEXT,
    "video-conferencing-chat-filesharing": TEXT,
    "audio-conferencing": AUDIO,
    "one-to-one": VIDEO,
    "video-conferencing": VIDEO,
    "video-broadcasting": VIDEO,
    "screen-sharing": VIDEO,
    "video-and-screen-sharing": VIDEO,
    "getStats": VIDEO,
    "camera-zoom": VIDEO,
    "call-by-username": VIDEO,
    "video-conference/video-conference": VIDEO,
    "dashboard/canvas-designer": VIDEO,
    "Scalable-Broadcast": VIDEO,
}
"""The same of the demos of the repository: those that docs/gateways/rtcmulticonnection.md says run."""

HAS_OPENED = """(room) => connection.socket && connection.socket.connected
  && new Promise((resolve) => {
    connection.checkPresence(room, resolve);
    setTimeout(resolve, 5000, false); // an answer is lost with its connection
  })"""

RECEIVES = """async (kind) => {
  for (const id of connection.getAllParticipants()) {
    for (const one of (await connection.peers[id].peer.getStats()).values()) {
      if (one.type !== 'inbound-rtp' || one.kind !== kind) continue;
      if (kind === 'video' ? one.framesDecoded > 5 : one.packetsReceived > 5) return true;
    }
  }
  return false;
}"""


class _Demos(SimpleHTTPRequestHandler):
    """Serves the demos as their own server does, with the relay's address as their `socketURL`."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        found = find_file(unquote(urlsplit(self.path).path).lstrip("/"))
        if found is None:
            self.send_error(404)
            return
        body = found.read_bytes()
        if found.suffix == ".html":
            body, count = re.subn(rb"(?m)^(\s*connection\.socketURL = )'/';", rb"\1RELAY + '/';", body)
            assert count == 1, f"{found.name} sets its socketURL {count} times"
        self.send_response(200)
        self.send_header("Content-Type", mimetypes.guess_type(found.name)[0] or "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def find_file(path: str) -> Path | None:
    """The file of the demos, the library or a package that the server of the demos has at a path."""
    if path == "socket.io/socket.io.js":
        return SOCKET_IO
    top, _, rest = path.partition("/")
    folders = {"demos": [DEMOS], "node_modules": [PACKAGES], "dist": [LIBRARY / "dist"]}
    # Some scripts beside the demos are in packages of their own today.
    folders["dev"] = [LIBRARY / "dev", DEMOS.parent / "dev"]
    return next((folder / rest for folder in folders.get(top, []) if (folder / rest).is_file()), None)


@pytest.fixture(scope="module")
def demos_site(tests_site: str) -> Iterator[str]:
    """The URL of a server like the one of the demos, without its Socket.IO."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Demos)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


async def visit(open_tab: OpenTab, site: str, demo: str, relay: Relay) -> Tab:
    """Open a demo; of the scripts on its author's server, it gets the one that is also a package."""

    async def serve(route: Route) -> None:
        if urlsplit(route.request.url).path.endswith("/FileBufferReader.js"):
            await route.fulfill(path=PACKAGES / "fbr" / "FileBufferReader.js")
        else:
            await route.abort()

    tab = await open_tab("about:blank", relay=relay.http, strict=False)
    await tab.page.route(lambda url: urlsplit(url).hostname != "127.0.0.1", serve)
    await tab.page.goto(f"{site}/demos/{demo}.html")
    return tab


async def use_buttons(a: Tab, b: Tab, room: str) -> None:
    """The first page opens the room, and the second one joins it."""
    for tab, button in ((a, "open-room"), (b, "join-room")):
        await tab.run("room => { document.getElementById('room-id').value = room; }", room)
        await tab.run("button => document.getElementById(button).click()", button)
        await a.until(HAS_OPENED, room, timeout=PATIENCE)


async def call_by_name(a: Tab, b: Tab, room: str) -> None:
    """Both take a name, which opens a room, and the second one calls the first one by it."""
    for tab, name in ((a, room), (b, f"{room}-caller")):
        await tab.run("name => { document.getElementById('current-username').value = name; }", name)
        await tab.run("document.getElementById('change-your-own-username').click()")
        await tab.until("!document.getElementById('join-callee-using-his-username').disabled", timeout=PATIENCE)
    await b.run("name => { document.getElementById('callee-username').value = name; }", room)
    await b.run("document.getElementById('join-callee-using-his-username').click()")


async def use_addresses(a: Tab, b: Tab, room: str) -> None:
    """The address of the first page opens the room, and that of the second one joins it."""
    await a.page.goto(f"{a.page.url}?open=true&sessionid={room}&publicRoomIdentifier=demos&userFullName=a")
    await a.until(HAS_OPENED, room, timeout=PATIENCE)
    await b.page.goto(f"{b.page.url}?sessionid={room}&publicRoomIdentifier=demos&userFullName=b")


async def broadcast(a: Tab, b: Tab, room: str) -> None:
    """The first page broadcasts, and the second one comes when the first one has its camera.

    Before that, the library offers a newcomer a call without streams, and never adds them.
    """
    for tab in (a, b):
        await tab.until("connection.socket && connection.socket.connected", timeout=PATIENCE)
        await tab.run("room => { document.getElementById('broadcast-id').value = room; }", room)
        await tab.run("document.getElementById('open-or-join').click()")
        await a.until("connection.isInitiator && connection.attachStreams.length > 0", timeout=PATIENCE)


async def say(tab: Tab, text: str) -> None:
    await tab.run(
        """(text) => {
          const input = document.getElementById('input-text-chat');
          input.value = text;
          input.onkeyup({ keyCode: 13 });
        }""",
        text,
    )


async def chat(a: Tab, b: Tab) -> None:
    for tab, other in ((a, b), (b, a)):
        await tab.until("!document.getElementById('input-text-chat').disabled", timeout=PATIENCE)
        await say(tab, "hello")
        await other.until("document.querySelector('.chat-output').textContent.includes('hello')", timeout=PATIENCE)


STARTS = {
    "Scalable-Broadcast": broadcast,
    "call-by-username": call_by_name,
    "video-conference/video-conference": use_addresses,
    "dashboard/canvas-designer": use_addresses,
}
"""How two pages of a demo meet that has no buttons to open and to join a room."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("demo", "shows"), (CHECKED_OUT if CHECKOUT else PACKAGED).items())
async def test_two_pages_of_a_demo_meet(
    open_tab: OpenTab, demos_site: str, fleet: Fleet, demo: str, shows: str
) -> None:
    a, b = [await visit(open_tab, demos_site, demo, relay) for relay in fleet]
    await STARTS.get(demo, use_buttons)(a, b, "demo-" + re.sub(r"\W", "-", demo))
    for tab in (a, b):
        await tab.until("connection.getAllParticipants().length > 0", timeout=PATIENCE)
    if shows == TEXT:
        await chat(a, b)
    else:
        await b.until(RECEIVES, shows, timeout=PATIENCE)
