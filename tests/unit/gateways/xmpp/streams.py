"""Streams of XMPP over the memory backend: sessions of the gateway, whose elements the tests write and read."""

import base64
from collections.abc import Sequence
from typing import Self

from relay.gateways.base.join_request import CodecPair
from relay.gateways.xmpp.codec import XmppCodec
from relay.gateways.xmpp.connection import XmppConnection
from relay.gateways.xmpp.namespaces import FRAMING, MUC, SASL
from relay.gateways.xmpp.reading import Element, read
from relay.gateways.xmpp.session import XmppSocketSession
from relay.model.codec import Frame
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import FakeConnection, until

OPEN = f'<open xmlns="{FRAMING}" to="localhost" version="1.0"/>'
CLOSE = f'<close xmlns="{FRAMING}"/>'
BIND = '<iq type="set" id="b1"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"><resource>web</resource></bind></iq>'
ROOM = "room@conference.localhost"


def auth(mechanism: str, text: str = "") -> str:
    return f'<auth xmlns="{SASL}" mechanism="{mechanism}">{text}</auth>'


def plain(user: str, secret: str) -> str:
    return auth("PLAIN", base64.b64encode(f"\0{user}\0{secret}".encode()).decode())


def presence(nick: str, *, kind: str = "", password: str = "", history: str = "", identifier: str = "p1") -> str:
    inside = f"<password>{password}</password>" * bool(password) + history
    about = "" if kind else f'<x xmlns="{MUC}">{inside}</x>'
    attribute = f' type="{kind}"' if kind else ""
    return f'<presence id="{identifier}" to="{ROOM}/{nick}"{attribute}>{about}</presence>'


def message(body: str, to: str = ROOM, kind: str = "groupchat") -> str:
    return f'<message id="m1" to="{to}" type="{kind}"><body>{body}</body></message>'


def statuses(element: Element) -> list[str]:
    return [one.get("code") for one in element.all() if one.name == "status"]


def code(element: Element) -> str:
    """The relay's code of an error."""
    return next((one.text for one in element.all() if one.name == "code"), "")


class Recorder(FakeConnection):
    """Keeps the frames."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []

    def write(self, frame: Frame) -> None:
        if self.reason is None:
            self.frames.append(frame)


class Stream:
    """One client of the worker."""

    def __init__(self, worker: Worker) -> None:
        codec = XmppCodec("")
        self.connection = Recorder()
        self.ticket = worker.admissions.admit("here", "xmpp")
        shown = XmppConnection(self.connection)
        self.session = XmppSocketSession(shown, worker, CodecPair(codec, codec), self.ticket)
        self._read = 0

    async def send(self, *texts: str) -> Self:
        for text in texts:
            self.session.received(Frame(text.encode()))
        return self

    async def log_in(self, credentials: str = "") -> Self:
        await self.session.greet()
        await self.send(OPEN, credentials or auth("ANONYMOUS"))
        await until(lambda: any(b"<success" in frame.data for frame in self.connection.frames))
        await self.send(OPEN, BIND)
        self.elements()
        return self

    async def enter(self, nick: str, **options: str) -> Self:
        """Enter the room; the elements of the join are read."""
        await self.send(presence(nick, **options))
        await self.until("subject")
        return self

    def elements(self) -> Sequence[Element]:
        """The elements that were not read yet."""
        new = self.connection.frames[self._read :]
        self._read += len(new)
        return [read(frame.data).root for frame in new]

    def skip(self, count: int) -> None:
        """Go on behind the first elements."""
        self._read = count

    async def until(self, *names: str) -> list[Element]:
        """Read elements until one, or a child of it, has one of these names."""
        found: list[Element] = []

        def come() -> bool:
            found.extend(self.elements())
            return any({one.name, *(child.name for child in one.all())} & {*names} for one in found)

        await until(come)
        return found

    def lose(self, number: int = 1006) -> None:
        self.session.disconnected(number, None)
