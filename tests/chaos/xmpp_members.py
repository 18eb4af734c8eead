"""Members that speak XMPP over WebSocket: they manage their stream (XEP-0198), and resume it on any worker."""

import asyncio
import contextlib
import itertools
import json
import secrets
from collections import deque
from collections.abc import Sequence
from typing import Any, Final
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from relay.client import Envelope, Left, Lost, NotAcknowledged
from relay.model.envelope import MessageId
from tests.chaos.reference import RunningMember, lose

_AGAIN_AFTER: Final = 0.2
_C: Final = "{jabber:client}"
_SM: Final = "{urn:xmpp:sm:3}"
_OPEN: Final = '<open xmlns="urn:ietf:params:xml:ns:xmpp-framing" to="localhost" version="1.0"/>'
_AUTH: Final = '<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="ANONYMOUS"/>'
_BIND: Final = '<iq xmlns="jabber:client" type="set" id="b"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>'
_REQUEST: Final = '<r xmlns="urn:xmpp:sm:3"/>'


class _Refused(Exception):
    """The relay does not let the client in now."""


class XmppMember(RunningMember):
    """It sends stanzas again that the relay has not counted as handled.

    After a stream that could not be resumed, that is told as a loss. A stanza whose fate is open then is sent anew; its
    envelope has the same key, so that the relay publishes it once.
    """

    def __init__(self, urls: Sequence[str], room: str, peer: str, *, slow: float) -> None:
        super().__init__()
        self._urls = [f"{url}/xmpp-websocket" for url in urls]
        self._room = f"{room}@conference.localhost"
        self._peer = peer
        self._slow = slow
        self._prefix, self._numbers = secrets.token_hex(8), itertools.count()
        self._socket: ClientConnection | None = None
        self._stream = ""
        self._handled = self._sent = 0
        # The stanzas that the relay has not counted: their numbers, their texts, and the futures of their senders.
        self._unhandled: deque[tuple[int, str, asyncio.Future[bool]]] = deque()
        self._waiting: dict[str, asyncio.Future[bool]] = {}
        # Set while the client is in the room, and has a stream for its stanzas.
        self._inside = asyncio.Event()
        self._sending = asyncio.Lock()

    async def send(self, envelope: dict[str, Any], *, timeout: float) -> None:
        name = f"{self._prefix}-{next(self._numbers)}"
        body = escape(json.dumps(envelope | {"key": name}))
        head = f'<message xmlns="jabber:client" to="{self._room}" type="groupchat" id="{name}">'
        text = f"{head}<body>{body}</body></message>"
        try:
            # One that was refused is sent again before the next: locks are fair.
            async with asyncio.timeout(timeout), self._sending:
                while True:
                    await self._inside.wait()
                    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
                    self._waiting[name] = done
                    await self._put(text, done)
                    if await done:
                        return
                    await asyncio.sleep(_AGAIN_AFTER)
        except TimeoutError:
            raise NotAcknowledged(possibly_sent=True) from None
        finally:
            self._waiting.pop(name, None)

    def drop(self) -> None:
        if self._socket is not None:
            lose(self._socket.transport)

    async def leave(self) -> None:
        self._left = True
        if self._socket is not None:
            with contextlib.suppress(TimeoutError, ConnectionClosed):
                await self._socket.send('<close xmlns="urn:ietf:params:xml:ns:xmpp-framing"/>')
                await asyncio.wait_for(self._socket.close(), 1)

    async def _put(self, text: str, done: "asyncio.Future[bool] | None" = None) -> None:
        """Send a stanza, which counts."""
        assert self._socket is not None
        self._sent += 1
        self._unhandled.append((self._sent, text, done or asyncio.get_running_loop().create_future()))
        with contextlib.suppress(ConnectionClosed):
            await self._socket.send(text)
            await self._socket.send(_REQUEST)

    async def _run(self) -> None:
        try:
            for url in itertools.cycle(self._urls):
                with contextlib.suppress(OSError, TimeoutError, InvalidHandshake, ConnectionClosed, _Refused):
                    await self._stay(url)
                self._inside.clear()
                if self._left:
                    return
                await asyncio.sleep(_AGAIN_AFTER)
        finally:
            if self._socket is not None:
                self._socket.transport.abort()

    async def _stay(self, url: str) -> None:
        async with asyncio.timeout(self._slow):
            self._socket = await connect(
                url,
                subprotocols=[Subprotocol("xmpp")],
                compression=None,
                ping_interval=None,
                proxy=None,
                max_size=None,
                max_queue=None,
            )
            await self._log_in()
        async for text in self._socket:
            await self._take(ElementTree.fromstring(text))

    async def _log_in(self) -> None:
        for text in (_OPEN, _AUTH, _OPEN):
            await self._tell(text)
        for name in ("open", "features", "success", "open", "features"):
            element = await self._read()
            if not element.tag.endswith(f"}}{name}"):
                raise _Refused(element.tag)
        if self._stream:
            answer = await self._ask(f'<resume xmlns="urn:xmpp:sm:3" previd="{self._stream}" h="{self._handled}"/>')
            if answer.tag == f"{_SM}resumed":
                await self._go_on(int(answer.get("h", "0")))
                return
            if answer.tag != f"{_SM}failed":
                raise _Refused(answer.tag)
            self.put(Lost("not resumed"))
        await self._begin()

    async def _go_on(self, handled: int) -> None:
        """Send the stanzas again that the relay has not handled.

        An error about one that it has handled may be among those that were missed: its answer to `r` comes after them.
        """
        self.welcomes += 1
        again = [one for one in self._unhandled if one[0] > handled]
        self._unhandled = deque(one for one in self._unhandled if one[0] <= handled)
        self._sent = handled
        for _, text, done in again:
            await self._put(text, done)
        await self._tell(_REQUEST)
        self._inside.set()

    async def _begin(self) -> None:
        """Begin another stream, and enter the room."""
        self._stream = ""
        await self._ask(_BIND)
        enabled = await self._ask('<enable xmlns="urn:xmpp:sm:3" resume="true"/>')
        self._handled = self._sent = 0
        unhandled, self._unhandled = self._unhandled, deque()
        self._stream = enabled.get("id", "")
        await self._put(
            f'<presence xmlns="jabber:client" id="join" to="{self._room}/{self._peer}">'
            '<x xmlns="http://jabber.org/protocol/muc"/></presence>'
        )
        present: set[str] = set()
        while True:
            element = await self._read()
            self._note(element)
            nick = element.get("from", "").partition("/")[2]
            if element.get("type") == "error":
                self._stream = ""
                raise _Refused("the nick is not free")
            if element.tag == f"{_C}presence":
                present.add(nick)
            elif element.find(f"{_C}subject") is not None:
                break
        self.on_event("members", sorted(present))
        self.welcomes += 1
        self._inside.set()
        for _, _, done in unhandled:
            if not done.done():
                done.set_result(False)

    async def _tell(self, text: str) -> None:
        assert self._socket is not None
        await self._socket.send(text)

    async def _read(self) -> ElementTree.Element:
        assert self._socket is not None
        return ElementTree.fromstring(await self._socket.recv())

    async def _ask(self, text: str) -> ElementTree.Element:
        await self._tell(text)
        return await self._read()

    def _note(self, element: ElementTree.Element) -> None:
        self._handled += element.tag in {f"{_C}iq", f"{_C}message", f"{_C}presence"}

    def _count(self, handled: int) -> None:
        while self._unhandled and self._unhandled[0][0] <= handled:
            done = self._unhandled.popleft()[2]
            if not done.done():
                done.set_result(True)

    async def _take(self, element: ElementTree.Element) -> None:
        self._note(element)
        nick = element.get("from", "").partition("/")[2]
        if element.tag == f"{_SM}r":
            await self._tell(f'<a xmlns="urn:xmpp:sm:3" h="{self._handled}"/>')
        elif element.tag == f"{_SM}a":
            self._count(int(element.get("h", "0")))
        elif element.get("type") == "error":
            done = self._waiting.get(element.get("id", ""))
            if done is not None and not done.done():
                done.set_result(False)
        elif element.tag == f"{_C}presence" and nick != self._peer:
            self._change(nick, leaves=element.get("type") == "unavailable")
        elif (body := element.find(f"{_C}body")) is not None and nick != self._peer:
            stanza_id = element.find("{urn:xmpp:sid:0}stanza-id")
            assert stanza_id is not None
            self.put(Envelope(MessageId.parse(stanza_id.get("id", "")), nick, json.loads(str(body.text))))

    def _change(self, nick: str, *, leaves: bool) -> None:
        members = self.members or set()
        if leaves:
            members.discard(nick)
            self.put(Left(nick))
        else:
            members.add(nick)
