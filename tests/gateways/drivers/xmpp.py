"""The driver of XMPP clients over WebSocket: one stream with the login and the stanzas that clients send."""

import base64
import json
import secrets
from collections import deque
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from relay.gateways.xmpp.jids import local_of, text_of
from relay.model.names import escape_peer
from tests.fleet import Relay
from tests.gateways.driver import (
    BAD_FRAME,
    Arrived,
    Capabilities,
    Closed,
    Departed,
    Event,
    Heard,
    NotAdmitted,
    Opened,
    Refused,
)
from tests.gateways.drivers.wires import Ended, SocketWire, TextWire

C = "{jabber:client}"
USER = "{http://jabber.org/protocol/muc#user}"
FRAMING = "urn:ietf:params:xml:ns:xmpp-framing"


def code_of(element: ElementTree.Element) -> str:
    """Return the relay's code of an error; "" if there is none."""
    found = element.find(".//{relay:error}code")
    return "" if found is None else str(found.text)


class XmppDriver:
    """A client that logs in with its token, and enters a room under the subject of its token, or a nick of its own.

    It manages its stream (XEP-0198), and resumes it when it comes back, as strophe.js does.
    """

    can = Capabilities(held=True, resume=True, direct=True, presence=True)

    def __init__(self) -> None:
        self._stream = ""
        self._handled = 0
        self._wire: TextWire | None = None
        self._room = self._nick = ""
        self._before: deque[Event] = deque()
        self.token = ""

    async def open(self, relay: Relay, room: str) -> Opened:
        if await self.log_in(relay):
            return Opened(self._peer(self._nick), resumed=True)
        self._room = f"{local_of(room)}@conference.localhost"
        self._before.clear()
        await self.write(
            f'<presence xmlns="jabber:client" id="join" to="{self._room}/{self._nick}">'
            '<x xmlns="http://jabber.org/protocol/muc"/></presence>'
        )
        while True:
            element = await self.read()
            if element.get("type") == "error":
                event = Refused(code_of(element))
                if element.get("id") == "join":
                    raise NotAdmitted(event.code)
                self._before.append(event)
            elif element.find(f"{C}subject") is not None:
                return Opened(self._peer(self._nick), resumed=False)

    async def log_in(self, relay: Relay) -> bool:
        """Open a stream; returns whether it goes on with the one before."""
        await self.connect(relay)
        if self.token:
            secret = base64.b64encode(f"\0user\0{self.token}".encode()).decode()
            await self.write(f'<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="PLAIN">{secret}</auth>')
        else:
            await self.write('<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="ANONYMOUS"/>')
        answer = await self.read()
        if answer.tag.endswith("}failure"):
            raise NotAdmitted(code_of(answer))
        await self.open_stream()
        if self._stream:
            await self.write(f'<resume xmlns="urn:xmpp:sm:3" previd="{self._stream}" h="{self._handled}"/>')
            answer = await self.read()
            assert answer.tag == "{urn:xmpp:sm:3}resumed", answer.tag
            return True
        await self.write(
            '<iq xmlns="jabber:client" type="set" id="b"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>'
        )
        jid = (await self.read()).find(".//{urn:ietf:params:xml:ns:xmpp-bind}jid")
        assert jid is not None
        user = text_of(str(jid.text).partition("@")[0])
        self._nick = user if self.token and user != "user" else f"nick {secrets.token_hex(4)}"
        await self.manage()
        return False

    async def connect(self, relay: Relay) -> None:
        """Connect, and open a stream for the login."""
        socket = await connect(
            f"{relay.ws}/xmpp-websocket",
            compression=None,
            ping_interval=None,
            proxy=None,
            subprotocols=[Subprotocol("xmpp")],
        )
        self._wire = SocketWire(socket)
        await self.open_stream()

    async def manage(self) -> None:
        """Begin stream management."""
        await self.write('<enable xmlns="urn:xmpp:sm:3" resume="true"/>')
        self._stream = (await self.read()).get("id", "")
        assert self._stream
        self._handled = 0

    async def open_stream(self) -> None:
        await self.write(f'<open xmlns="{FRAMING}" to="localhost" version="1.0"/>')
        assert (await self.read()).tag == f"{{{FRAMING}}}open"
        assert (await self.read()).tag.endswith("}features")

    async def write(self, text: str) -> None:
        assert self._wire is not None
        await self._wire.send(text)

    async def read(self) -> ElementTree.Element:
        assert self._wire is not None
        while True:
            element = ElementTree.fromstring(await self._wire.receive())
            if element.tag == "{urn:xmpp:sm:3}r":
                await self.write(f'<a xmlns="urn:xmpp:sm:3" h="{self._handled}"/>')
                continue
            self._handled += element.tag in {f"{C}iq", f"{C}message", f"{C}presence"}
            return element

    async def send(self, data: Any, *, to: str = "") -> None:
        if data is BAD_FRAME:
            await self.write("<message>")
            return
        message = ElementTree.Element("message", xmlns="jabber:client", id=secrets.token_hex(4))
        message.set("to", f"{self._room}/{unquote(to)}" if to else self._room)
        message.set("type", "chat" if to else "groupchat")
        ElementTree.SubElement(message, "body").text = json.dumps({"message": data})
        await self.write(ElementTree.tostring(message, "unicode"))

    async def refresh(self, token: str) -> None:
        raise NotImplementedError

    async def next(self) -> Event:
        if self._before:
            return self._before.popleft()
        while True:
            try:
                event = self._event(await self.read())
            except Ended:
                return Closed()
            if event is not None:
                return event

    def _event(self, element: ElementTree.Element) -> Event | None:
        nick = element.get("from", "").partition("/")[2]
        if element.tag == f"{{{FRAMING}}}close":
            return None
        if element.get("type") == "error" or element.tag.endswith("}error"):
            return Refused(code_of(element))
        if element.tag == f"{C}presence":
            if nick == self._nick:
                return None
            return (Departed if element.get("type") == "unavailable" else Arrived)(self._peer(nick))
        body = element.find(f"{C}body")
        if nick == self._nick or body is None:
            return None
        content = json.loads(str(body.text))
        return Heard(content["message"] if "message" in content else content["args"][0]["message"], self._peer(nick))

    async def close(self) -> None:
        if self._wire is not None:
            await self.write(f'<close xmlns="{FRAMING}"/>')
            await self._wire.close()

    async def drop(self) -> None:
        if self._wire is not None:
            await self._wire.drop()

    @staticmethod
    def _peer(nick: str) -> str:
        return escape_peer(nick)
