"""The driver of XMPP clients over BOSH: at most two requests are open, one of which waits, as strophe.js has it."""

import asyncio
import secrets
from contextlib import suppress
from typing import Final
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import httpx2 as httpx

from tests.fleet import Relay
from tests.gateways.driver import Capabilities, NotAdmitted, Opened
from tests.gateways.drivers.wires import TIMEOUT, Ended
from tests.gateways.drivers.xmpp import XmppDriver

HTTP_BIND: Final = "http://jabber.org/protocol/httpbind"
_XBOSH: Final = 'xmlns:xmpp="urn:xmpp:xbosh"'
_OPEN: Final = 2


class BoshWire:
    """One session of BOSH at a relay; `rid` is the id of the next request. If `fresh`, each has its own connection."""

    def __init__(self, url: str, *, wait: int = 5, hold: int = 1, fresh: bool = False) -> None:
        self.url = f"{url}/http-bind"
        self.sid = ""
        self.rid = 1 + secrets.randbelow(2**40)
        self.attributes: dict[str, str] = {}
        self._http = httpx.AsyncClient(timeout=4 * TIMEOUT, headers={"Connection": "close"} if fresh else None)
        self._wait, self._hold = wait, hold
        self._heard: asyncio.Queue[str | None] = asyncio.Queue()
        self._unsent: list[str] = []
        self._restarts = False
        self._changed = asyncio.Event()
        self._requests: set[asyncio.Task[None]] = set()
        self._running: asyncio.Task[None] | None = None
        self._ended = False

    async def begin(self, domain: str = "localhost", *, polls: bool = True) -> None:
        """Begin a session, and keep a request open from now on, if it `polls`."""
        answer = await self.ask(
            f'to="{domain}" wait="{self._wait}" hold="{self._hold}" ver="1.6" xmpp:version="1.0" {_XBOSH}'
        )
        self.attributes = dict(answer.attrib)
        self.sid = answer.get("sid", "")
        self._hear(answer)
        if self.sid and polls:
            self._running = asyncio.create_task(self._run())

    def body(self, attributes: str = "", content: str = "") -> str:
        """The next request."""
        sid = f" sid={quoteattr(self.sid)}" if self.sid else ""
        rid, self.rid = self.rid, self.rid + 1
        return f'<body rid="{rid}"{sid} xmlns="{HTTP_BIND}" {attributes}>{content}</body>'

    async def ask(self, attributes: str = "", content: str = "") -> ElementTree.Element:
        """Send a request, and return the element of its answer."""
        return await self.post(self.body(attributes, content))

    async def post(self, body: str) -> ElementTree.Element:
        """Send this request, and return the element of its answer."""
        response = await self._http.post(
            self.url, content=body.encode(), headers={"Content-Type": "text/xml; charset=utf-8"}
        )
        return ElementTree.fromstring(response.content)

    async def send(self, packet: str) -> None:
        """Send an element with the next request."""
        self._unsent.append(packet)
        self._changed.set()

    async def restart(self) -> None:
        """Ask for a new stream."""
        self._restarts = True
        self._changed.set()

    async def receive(self) -> str:
        """Return the next element for the client; raises `Ended`."""
        async with asyncio.timeout(TIMEOUT):
            heard = await self._heard.get()
        if heard is None:
            self._heard.put_nowait(None)
            raise Ended
        return heard

    async def close(self) -> None:
        """Say goodbye."""
        while not self._ended and self._unsent:
            await asyncio.sleep(0.01)
        with suppress(httpx.HTTPError, ElementTree.ParseError):
            await self.ask('type="terminate"')
        await self.drop()

    async def drop(self) -> None:
        """Send no request any more."""
        await self.stop()
        await self._http.aclose()
        self._heard.put_nowait(None)

    async def stop(self) -> None:
        """Send no request any more by itself."""
        self._ended = True
        tasks = [*self._requests, *([self._running] if self._running else ())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while not self._ended:
            more = self._unsent or self._restarts
            if (more and len(self._requests) < _OPEN) or not self._requests:
                attributes = f'xmpp:restart="true" to="localhost" {_XBOSH}' if self._restarts else ""
                body = self.body(attributes, "".join(self._unsent))
                self._restarts, self._unsent = False, []
                request = asyncio.create_task(self._request(body))
                self._requests.add(request)
                request.add_done_callback(self._requested)
            else:
                self._changed.clear()
                await self._changed.wait()

    async def _request(self, body: str) -> None:
        try:
            self._hear(await self.post(body))
        except (httpx.HTTPError, ElementTree.ParseError):
            self._end()

    def _requested(self, request: "asyncio.Task[None]") -> None:
        self._requests.discard(request)
        self._changed.set()

    def _hear(self, answer: ElementTree.Element) -> None:
        for child in answer:
            self._heard.put_nowait(ElementTree.tostring(child, "unicode"))
        if answer.get("type") == "terminate":
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._changed.set()
        self._heard.put_nowait(None)


class BoshDriver(XmppDriver):
    """A client that cannot come back to its stream: it enters the room anew."""

    can = Capabilities(direct=True, presence=True)

    async def open(self, relay: Relay, room: str) -> Opened:
        try:
            return await super().open(relay, room)
        except NotAdmitted:
            await self.drop()
            raise

    async def connect(self, relay: Relay) -> None:
        await self.drop()
        wire = self._wire = BoshWire(relay.http)
        await wire.begin()
        await self.read()

    @property
    def wire(self) -> BoshWire:
        """The session."""
        assert isinstance(self._wire, BoshWire)
        return self._wire

    async def open_stream(self) -> None:
        await self.wire.restart()
        assert (await self.read()).tag.endswith("}features")

    async def manage(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        if self._wire is not None:
            await self._wire.close()
