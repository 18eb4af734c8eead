"""Members that speak Firebase: pages that listen to the whole room, add a child for each message, and show a place.

A page that comes back is another member of the room, and gets the whole value of the room anew: so it misses nothing.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from websockets.exceptions import WebSocketException

from relay.client import Envelope, NotAcknowledged
from relay.gateways.firebase.session import peer_of
from relay.model.envelope import BEFORE_ALL
from tests.chaos.reference import RunningMember
from tests.gateways.drivers.wires import Ended
from tests.integration.firebase import FirebasePage

FIREBASE: Final = {"firebase-websocket": False, "firebase-polling": True}
"""Kinds of pages, and whether they poll."""

_GONE: Final = (Ended, OSError, WebSocketException, TimeoutError)
"""The errors that a page may get when its worker or connection has ended."""

_PAUSE: Final = 0.3


class _Address(NamedTuple):
    """The address of a relay, as `FirebasePage` takes it."""

    ws: str
    http: str


class _Page(FirebasePage):
    """Tells of each change of its value."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        super().__init__()
        self._on_change = on_change

    def _set(self, path: str, value: Any) -> None:
        super()._set(path, value)
        self._on_change()


class FirebaseMember(RunningMember):
    """A page; its children have keys that sort in the order in which it added them.

    Each page removes its place by `onDisconnect`. `places` are the names of the pages whose place it sees. `on_rename`
    is called with its old peer id when its connection ends, and with its new one when it is connected again.
    """

    def __init__(self, urls: Sequence[str], room: str, peer: str, *, slow: float, polls: bool) -> None:
        super().__init__()
        self.members = None
        self.peer = ""
        self.name = peer
        self.on_rename: Callable[[str, str], None] = lambda _old, _new: None
        self._addresses = [_Address(url, url.replace("ws:", "http:")) for url in urls]
        self._room = room
        self._polls = polls
        self._slow = slow
        self._turn = 0
        self._page = _Page(self._look)
        self._known: set[str] = set()
        self._sending = asyncio.Lock()
        self._connected = asyncio.Event()

    @property
    def places(self) -> set[str]:
        """The names of the pages that show a place."""
        return set(self._page.at(f"{self._room}/places") or {})

    async def _close(self) -> None:
        await self._page.lose()

    async def send(self, envelope: dict[str, Any], *, timeout: float) -> None:
        """Put a child until that is acknowledged: the library puts the same child again once it is connected."""
        try:
            async with asyncio.timeout(timeout), self._sending:
                while not self._left:
                    await self._connected.wait()
                    with contextlib.suppress(*_GONE):
                        path = f"/{self._room}/children/m{envelope['number']:08}"
                        if await self._page.ask("p", path, d=envelope) == "ok":
                            return
                    await asyncio.sleep(_PAUSE)
        except TimeoutError:
            pass
        raise NotAcknowledged(possibly_sent=True)

    def drop(self) -> None:
        """Lose the connection."""
        if self._page.wire is not None:
            self._page.wire.abort()

    async def leave(self) -> None:
        self._left = True
        with contextlib.suppress(*_GONE):
            async with asyncio.timeout(self._slow):
                await self._page.close()

    async def _run(self) -> None:
        while not self._left:
            with contextlib.suppress(*_GONE):
                await self._stay(self._addresses[self._turn % len(self._addresses)])
            self._connected.clear()
            self._rename("")
            await self._page.lose()
            self._turn += 1
            await asyncio.sleep(_PAUSE)

    async def _stay(self, address: _Address) -> None:
        """Come in, and stay until the connection ends."""
        page, place = self._page, f"/{self._room}/places/{self.name}"
        async with asyncio.timeout(2 * self._slow):
            await page.connect(address, polls=self._polls, patient=True)
            for action, path, fields in (("q", f"/{self._room}", {"h": ""}), ("o", place, {"d": None})):
                if await page.ask(action, path, **fields) != "ok":
                    return
            if await page.ask("p", place, d=True) != "ok":
                return
        self._rename(peer_of(page.session))
        self.welcomes += 1
        self._connected.set()
        await page.ended()

    def _rename(self, peer: str) -> None:
        old, self.peer = self.peer, peer
        if old or peer:
            self.on_rename(old, peer)

    def _look(self) -> None:
        """Find the children that were not there before."""
        children = self._page.at(f"{self._room}/children") or {}
        new = sorted(children.keys() - self._known)
        self._known.update(new)
        for key in new:
            if children[key]["by"] != self.name:
                self.put(Envelope(BEFORE_ALL, "", children[key]))
