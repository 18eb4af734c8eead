"""Members that speak XMPP over BOSH: they repeat requests without an answer, and begin anew at another worker.

BOSH has no resumption. A member whose session has ended enters its room again, asks for the history, and compares the
ids of messages (XEP-0359): so it loses nothing, as long as the history reaches back.
"""

import asyncio
import contextlib
import itertools
import json
import secrets
from collections import deque
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from relay.client import Envelope, Left, NotAcknowledged
from relay.http_client import HttpClient, HttpError
from relay.model.envelope import BEFORE_ALL, MessageId
from tests.chaos.reference import RunningMember

_AGAIN_AFTER: Final = 0.2
_WAIT: Final = 3
"""Seconds for which a request waits for stanzas."""
_ATTEMPTS: Final = 5
_MOST: Final = 4_000_000
_C: Final = "{jabber:client}"
_XBOSH: Final = 'xmlns:xmpp="urn:xmpp:xbosh"'
_AUTH: Final = '<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="ANONYMOUS"/>'
_BIND: Final = '<iq xmlns="jabber:client" type="set" id="b"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>'


class _Ended(Exception):
    """The session is over, or the nick is not free."""


class BoshMember(RunningMember):
    """A message counts as acknowledged when it has come back from the room."""

    def __init__(self, urls: Sequence[str], room: str, peer: str, *, slow: float) -> None:
        super().__init__()
        self._urls = [urlsplit(url.replace("ws:", "http:") + "/http-bind") for url in urls]
        self._room = f"{room}@conference.localhost"
        self._peer = peer
        self._slow = slow
        self._http = HttpClient()
        self._turn = 0
        self._sid, self._rid = "", 0
        self._posts: set[asyncio.Task[bytes]] = set()
        self._requests: deque[asyncio.Task[list[ElementTree.Element]]] = deque()
        self._unsent: list[str] = []
        self._changed = asyncio.Event()
        self._prefix, self._numbers = secrets.token_hex(8), itertools.count()
        self._echoes: dict[str, asyncio.Future[bool]] = {}
        self._newest = BEFORE_ALL
        self._inside = asyncio.Event()
        self._sending = asyncio.Lock()
        # The occupants as far as they are known; None once the client is in the room.
        self._present: set[str] | None = None

    async def _close(self) -> None:
        self._http.close()

    async def send(self, envelope: dict[str, Any], *, timeout: float) -> None:
        name = f"{self._prefix}-{next(self._numbers)}"
        body = escape(json.dumps(envelope | {"key": name}))
        head = f'<message xmlns="jabber:client" to="{self._room}" type="groupchat" id="{name}">'
        try:
            # One that was refused is sent again before the next: locks are fair.
            async with asyncio.timeout(timeout), self._sending:
                while True:
                    await self._inside.wait()
                    echo = self._echoes[name] = asyncio.get_running_loop().create_future()
                    self._unsent.append(f"{head}<body>{body}</body></message>")
                    self._changed.set()
                    if await echo:
                        return
                    await asyncio.sleep(_AGAIN_AFTER)
        except TimeoutError:
            raise NotAcknowledged(possibly_sent=True) from None
        finally:
            self._echoes.pop(name, None)

    def drop(self) -> None:
        """Lose the connections of the open requests."""
        for post in self._posts:
            post.cancel()

    async def leave(self) -> None:
        self._left = True
        self._changed.set()
        with contextlib.suppress(HttpError, TimeoutError):
            async with asyncio.timeout(1):
                await self._post(self._body('type="terminate"'))

    # Requests.

    def _body(self, attributes: str = "", content: str = "") -> bytes:
        self._rid += 1
        sid = f'sid="{self._sid}"' if self._sid else ""
        space = "http://jabber.org/protocol/httpbind"
        return f'<body rid="{self._rid}" {sid} xmlns="{space}" {attributes}>{content}</body>'.encode()

    async def _post(self, body: bytes) -> bytes:
        address = self._urls[self._turn % len(self._urls)]
        head = f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: text/xml\r\n"
        request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        async with self._http.connection((str(address.hostname), address.port or 80)) as connection:
            response = await connection.exchange(request)
            return await response.read(_MOST)

    async def _answer(self, body: bytes) -> list[ElementTree.Element]:
        """Send a request until it has an answer; raises `_Ended` if that is the end of the session, or none comes."""
        for attempt in range(_ATTEMPTS):
            post = asyncio.create_task(self._post(body))
            self._posts.add(post)
            try:
                await asyncio.wait([post], timeout=_WAIT + self._slow)
                if post.done() and not post.cancelled() and post.exception() is None:
                    self.welcomes += attempt > 0
                    answer = ElementTree.fromstring(post.result())
                    if answer.get("type") == "terminate":
                        raise _Ended(answer.get("condition"))
                    self._sid = answer.get("sid", self._sid)
                    return list(answer)
            finally:
                post.cancel()
                self._posts.discard(post)
            await asyncio.sleep(_AGAIN_AFTER)
        raise _Ended("no answer")

    async def _ask(self, attributes: str = "", content: str = "") -> list[ElementTree.Element]:
        return await self._answer(self._body(attributes, content))

    # Session.

    async def _run(self) -> None:
        while not self._left:
            with contextlib.suppress(_Ended):
                await self._stay()
            self._inside.clear()
            for request in self._requests:
                request.cancel()
            self._requests.clear()
            await asyncio.sleep(_AGAIN_AFTER)

    async def _stay(self) -> None:
        self._sid, self._rid, self._unsent = "", secrets.randbelow(2**40), []
        self._turn += 1
        await self._ask(f'to="localhost" wait="{_WAIT}" hold="1" ver="1.6" xmpp:version="1.0" {_XBOSH}')
        await self._ask(content=_AUTH)
        await self._ask(f'xmpp:restart="true" to="localhost" {_XBOSH}')
        await self._ask(content=_BIND)
        history = '<history maxstanzas="256"/>' if self.welcomes else ""
        self._unsent.append(
            f'<presence xmlns="jabber:client" id="join" to="{self._room}/{self._peer}">'
            f'<x xmlns="http://jabber.org/protocol/muc">{history}</x></presence>'
        )
        self._present = set()
        while not self._left:
            if (self._unsent and len(self._requests) < 2) or not self._requests:
                content, self._unsent = "".join(self._unsent), []
                self._requests.append(asyncio.create_task(self._ask(content=content)))
                continue
            self._changed.clear()
            waking = asyncio.create_task(self._changed.wait())
            await asyncio.wait([self._requests[0], waking], return_when=asyncio.FIRST_COMPLETED)
            waking.cancel()
            # Answers count in the order of their requests.
            while self._requests and self._requests[0].done():
                for element in self._requests.popleft().result():
                    self._take(element)

    def _take(self, element: ElementTree.Element) -> None:
        nick = element.get("from", "").partition("/")[2]
        if element.get("type") == "error":
            if element.get("id") == "join":
                raise _Ended("the nick is not free")
            self._settle(element.get("id", ""), came=False)
        elif element.tag == f"{_C}presence":
            self._note_presence(nick, leaves=element.get("type") == "unavailable")
        elif element.find(f"{_C}subject") is not None:
            self._enter()
        elif (body := element.find(f"{_C}body")) is not None:
            stanza_id = element.find("{urn:xmpp:sid:0}stanza-id")
            assert stanza_id is not None
            self._hear(MessageId.parse(stanza_id.get("id", "")), nick, json.loads(str(body.text)))

    def _hear(self, message: MessageId, nick: str, envelope: dict[str, Any]) -> None:
        if message <= self._newest:
            # The client has this message of the history.
            return
        self._newest = message
        if nick == self._peer:
            self._settle(str(envelope["key"]), came=True)
        else:
            self.put(Envelope(message, nick, envelope))

    def _settle(self, name: str, *, came: bool) -> None:
        echo = self._echoes.get(name)
        if echo is not None and not echo.done():
            echo.set_result(came)

    def _note_presence(self, nick: str, *, leaves: bool) -> None:
        if self._present is not None:
            self._present.add(nick)
        elif leaves and nick != self._peer:
            assert self.members is not None
            self.members.discard(nick)
            self.put(Left(nick))
        elif not leaves:
            assert self.members is not None
            self.members.add(nick)

    def _enter(self) -> None:
        """Go on with the room, of which the client knows all now; messages that its history lacks are sent anew."""
        if self._present is None:
            return
        self.on_event("members", sorted(self._present))
        self._present = None
        self.welcomes += 1
        self._inside.set()
        for name in list(self._echoes):
            self._settle(name, came=False)
