"""The driver of Firebase clients: a list of children, of which each is a message, as pages use it for signaling."""

import itertools
import json
import re
from collections import deque
from typing import Any
from urllib.parse import quote

from relay.gateways.firebase.places import key_of
from tests.fleet import Relay, eventually
from tests.gateways.driver import BAD_FRAME, Capabilities, Closed, Event, Heard, NotAdmitted, Opened, Refused
from tests.gateways.drivers.firebase_polls import PollWire
from tests.gateways.drivers.wires import TIMEOUT, Ended, SocketWire

_KEYS = itertools.count()


def _code(body: Any) -> str:
    """The relay's code of a refusal: Firebase has one word for several of them, and the text names it."""
    named = re.search(r"\((\w+): ", body["d"]) if body["s"] == "permission_denied" else None
    return named[1] if named else str(body["s"])


async def _has_members(relay: Relay, room: str, number: int) -> bool:
    return bool((await relay.describe(room)).get("count") == number)


class FirebaseDriver:
    """A client that listens at a room, as with `on('child_added')`, and pushes.

    It hears its own children before they are acknowledged, and drops them as the page's client does. Its values have no
    sender.
    """

    can = Capabilities(survives_bad_frame=True, refresh=True)

    def __init__(self, *, polls: bool = False) -> None:
        self._polls = polls
        self._wire: SocketWire | PollWire | None = None
        self._room = ""
        self._numbers = itertools.count(1)
        self._own: set[str] = set()
        self._known: set[str] = set()
        self._waiting: deque[Event] = deque()
        self.token = ""

    async def open(self, relay: Relay, room: str) -> Opened:
        if self._polls:
            self._wire = await PollWire.open(relay.http)
            self._wire.wait_for(TIMEOUT)
        else:
            self._wire = await SocketWire.open(relay, "/.ws?v=5")
        hello = json.loads(await self._wire.receive())
        assert hello["d"]["d"]["h"] == f"127.0.0.1:{relay.port}"
        name, self._room = quote(room, safe=""), key_of(room)
        members, room = (await relay.describe(name)).get("count", 0), self._room
        self._waiting.clear()
        if self.token:
            await self._ask("auth", cred=self.token)
        await self._ask("q", p=f"/{room}", h="")
        # The values from before are known now.
        self._waiting.clear()
        try:
            # A write makes the client a member at once; where it may not write, its listen does so after a second.
            await self._ask("p", p=f"/{room}/gone", d=None)
        except NotAdmitted:
            await eventually(lambda: _has_members(relay, name, members + 1))
        return Opened("", resumed=False)

    async def _ask(self, action: str, **body: Any) -> None:
        """Send a request, and wait for its answer."""
        number = await self._send(action, body)
        while (frame := await self._receive())["d"].get("r") != number:
            self._note(frame)
        if frame["d"]["b"]["s"] != "ok":
            raise NotAdmitted(_code(frame["d"]["b"]))

    async def _send(self, action: str, body: Any) -> int:
        assert self._wire is not None
        number = next(self._numbers)
        await self._wire.send(json.dumps({"t": "d", "d": {"r": number, "a": action, "b": body}}))
        return number

    async def _receive(self) -> Any:
        assert self._wire is not None
        try:
            return json.loads(await self._wire.receive())
        except Ended:
            raise NotAdmitted("") from None

    async def send(self, data: Any, *, to: str = "") -> None:
        assert self._wire is not None
        if data is BAD_FRAME:
            await self._wire.send("no JSON")
            return
        key = f"-{next(_KEYS):019d}"
        self._own.add(key)
        await self._send("p", {"p": f"/{self._room}/{key}", "d": data})

    async def refresh(self, token: str) -> None:
        await self._send("auth", {"cred": token})

    async def next(self) -> Event:
        assert self._wire is not None
        while not self._waiting:
            try:
                self._note(json.loads(await self._wire.receive()))
            except Ended:
                return Closed()
        return self._waiting.popleft()

    def _note(self, frame: Any) -> None:
        body = frame["d"]
        if frame["t"] == "c":
            assert body["t"] == "e", frame
            self._waiting.append(Refused(body["d"].partition(":")[0]))
        elif "r" in body:
            if body["b"]["s"] != "ok":
                self._waiting.append(Refused(_code(body["b"])))
        elif body.get("a") == "d":
            self._changed(body["b"]["p"].strip("/").split("/"), body["b"]["d"])

    def _changed(self, keys: list[str], value: Any) -> None:
        """Note the children that were not there before."""
        assert keys[0] == self._room
        children = {keys[1]: value} if len(keys) == 2 else value
        for key, child in children.items() if isinstance(children, dict) else ():
            if key not in self._own and key not in self._known and child is not None:
                self._known.add(key)
                self._waiting.append(Heard(child))

    async def close(self) -> None:
        if self._wire is not None:
            await self._wire.close()

    async def drop(self) -> None:
        if isinstance(self._wire, PollWire):
            await self._wire.lose()
        elif self._wire is not None:
            await self._wire.drop()
