"""A SIP user agent over WebSocket, without media: it writes and reads the messages that a test names."""

import asyncio
import hashlib
import itertools
import json
import re
import secrets
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.fleet import Relay

_numbers = itertools.count(1)


class Address(Protocol):
    """A server that takes SIP over WebSocket."""

    @property
    def ws(self) -> str:
        """The beginning of its URLs."""


class SipEnded(Exception):
    """The relay has closed the connection, or it was lost; `reason` is that of its close frame."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code, self.reason = code, reason


class Sip:
    """A message that was received: its first line, its fields by lower-case name, and its body."""

    def __init__(self, text: str) -> None:
        head, _, self.body = text.partition("\r\n\r\n")
        self.text = text
        self.first, *lines = head.split("\r\n")
        self.fields: dict[str, list[str]] = {}
        for line in lines:
            name, _, value = line.partition(":")
            self.fields.setdefault(name.strip().lower(), []).append(value.strip())

    def __repr__(self) -> str:
        return self.text

    @property
    def status(self) -> int:
        """The status of a response, 0 for a request."""
        return int(self.first.split()[1]) if self.first.startswith("SIP/2.0") else 0

    @property
    def method(self) -> str:
        """The method of a request, or of the request that a response answers."""
        return self["cseq"].split()[1]

    @property
    def uri(self) -> str:
        return self.first.split()[1]

    @property
    def code(self) -> str:
        """The code of an error of the relay, "" for none."""
        return self.get("x-relay-error")

    @property
    def sender(self) -> str:
        """The user in the From."""
        found = re.search(r"sips?:([^@>;]+)@", self["from"])
        assert found is not None
        return found[1]

    @property
    def data(self) -> Any:
        return json.loads(self.body)

    def __getitem__(self, name: str) -> str:
        return self.fields[name][0]

    def get(self, name: str, default: str = "") -> str:
        return self.fields.get(name, [default])[0]


class SipAgent:
    """One user agent with one connection; `contact` and `registration` stay the same when it comes back.

    `registration` is the Call-ID of REGISTER.
    """

    def __init__(self, user: str, *, contact: str = "", registration: str = "") -> None:
        self.user = user
        self.host = f"{secrets.token_hex(4)}.invalid"
        self.contact = contact or f"sip:{secrets.token_hex(4)}@{self.host};transport=ws"
        self.registration = registration or secrets.token_hex(8)
        # The URI by which it was called in place of its user, "" for none.
        self.called = ""
        self._socket: ClientConnection | None = None
        self._waiting: deque[Sip] = deque()

    @property
    def address(self) -> str:
        return f"<{self.called or f'sip:{self.user}@localhost'}>"

    async def connect(self, relay: Address, path: str = "/rooms/calls", **options: Any) -> Self:
        """Open the WebSocket."""
        self._socket = await connect(
            relay.ws + path,
            subprotocols=[Subprotocol("sip")],
            compression=None,
            ping_interval=None,
            proxy=None,
            max_size=2**24,
            **options,
        )
        assert self._socket.subprotocol == "sip"
        self._waiting.clear()
        return self

    async def register(self, *, expires: int = 600, more: tuple[str, ...] = ()) -> Sip:
        """Register, and return the final response."""
        own = f"Contact: <{self.contact}>;expires={expires}"
        return await self.ask("REGISTER", "sip:localhost", to=self.address, call=self.registration, more=(own, *more))

    async def enter(self, relay: Relay, path: str = "/rooms/calls", more: tuple[str, ...] = ()) -> Self:
        """Connect and register."""
        await self.connect(relay, path)
        answer = await self.register(more=more)
        assert answer.status == 200, answer
        return self

    # Messages.

    async def raw(self, data: str | bytes) -> None:
        assert self._socket is not None
        await self._socket.send(data)

    def request(
        self,
        method: str,
        uri: str,
        *,
        to: str = "",
        body: str = "",
        kind: str = "text/plain",
        call: str = "",
        number: int = 0,
        branch: str = "",
        tag: str = "",
        more: tuple[str, ...] = (),
        hops: int = 70,
    ) -> str:
        """Return the text of a request."""
        serial = next(_numbers)
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/WS {self.host};branch={branch or f'z9hG4bK{serial}'}",
            f"Max-Forwards: {hops}",
            f"From: {self.address};tag={tag or 'f'}",
            f"To: {to or f'<{uri}>'}",
            f"Call-ID: {call or f'{serial}.{self.host}'}",
            f"CSeq: {number or 1} {method}",
            *more,
            *([f"Content-Type: {kind}"] if body else []),
            f"Content-Length: {len(body.encode())}",
        ]
        return "\r\n".join(lines) + "\r\n\r\n" + body

    async def send(self, method: str, uri: str, **parts: Any) -> Sip:
        """Send a request, and return it."""
        text = self.request(method, uri, **parts)
        await self.raw(text)
        return Sip(text)

    async def ask(self, method: str, uri: str, **parts: Any) -> Sip:
        """Send a request, and return its final response."""
        sent = await self.send(method, uri, **parts)
        return await self.final(sent)

    async def final(self, sent: Sip) -> Sip:
        """Return the final response to a request."""
        return await self.until(lambda one: one.status >= 200 and one["cseq"] == sent["cseq"]
                                and one["call-id"] == sent["call-id"])  # fmt: skip

    async def answer(
        self, request: Sip, status: int, *, tag: str = "", body: str = "", more: tuple[str, ...] = ()
    ) -> None:
        """Answer a request."""
        copied = [f"{name}: {value}" for name in ("via", "from", "call-id", "cseq") for value in request.fields[name]]
        to = request["to"] + (f";tag={tag}" if tag and ";tag=" not in request["to"] else "")
        own = [f"Contact: <{self.contact}>"] if request.method == "INVITE" and status > 100 else []
        end = [f"To: {to}", *own, *more, f"Content-Length: {len(body.encode())}"]
        await self.raw("\r\n".join([f"SIP/2.0 {status} Answer", *copied, *end]) + "\r\n\r\n" + body)

    async def next(self) -> Sip:
        """Return the next message, within ten seconds; raises `SipEnded`."""
        return self._waiting.popleft() if self._waiting else await self._read()

    async def until(self, condition: Callable[[Sip], Any]) -> Sip:
        """Return the next message of this kind; those before it wait."""
        for one in self._waiting:
            if condition(one):
                self._waiting.remove(one)
                return one
        while True:
            one = await self._read()
            if condition(one):
                return one
            self._waiting.append(one)

    @property
    def waiting(self) -> list[str]:
        """The methods of the requests that have come, and that nobody has asked for."""
        return [one.method for one in self._waiting if one.status == 0]

    async def heard(self, method: str) -> Sip:
        """Return the next request of this method."""
        return await self.until(lambda one: one.status == 0 and one.method == method)

    async def status(self, status: int, method: str = "INVITE") -> Sip:
        """Return the next response with this status to a request of this method."""
        return await self.until(lambda one: one.status == status and one.method == method)

    async def _read(self) -> Sip:
        assert self._socket is not None
        try:
            async with asyncio.timeout(10):
                text = await self._socket.recv()
        except ConnectionClosed as closed:
            found = closed.rcvd
            raise SipEnded(found.code if found else 1006, found.reason if found else "") from None
        return Sip(text if isinstance(text, str) else text.decode())

    async def read_raw(self) -> str | bytes:
        """Return the next frame."""
        assert self._socket is not None
        async with asyncio.timeout(10):
            return await self._socket.recv()

    # The end.

    async def close(self) -> None:
        """Close as a page does that is closed."""
        if self._socket is not None:
            await self._socket.close()

    async def drop(self) -> None:
        """Lose the connection without a goodbye."""
        if self._socket is not None:
            self._socket.transport.abort()
            await self._socket.wait_closed()


def digest_answer(
    challenge: str,
    username: str,
    password: str,
    *,
    uri: str = "sip:localhost",
    method: str = "REGISTER",
    count: int = 1,
) -> str:
    """Return the Authorization that answers a challenge; `count` is that of the nonce."""
    given = dict(re.findall(r'(\w+)="?([^",]+)"?', challenge))

    def md5(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    first, second = md5(f"{username}:{given['realm']}:{password}"), md5(f"{method}:{uri}")
    response = md5(f"{first}:{given['nonce']}:{count:08x}:c0ffee:auth:{second}")
    return (
        f'Authorization: Digest algorithm=MD5, username="{username}", realm="{given["realm"]}", '
        f'nonce="{given["nonce"]}", uri="{uri}", response="{response}", qop=auth, cnonce="c0ffee", nc={count:08x}'
    )
