"""Members that are SIP user agents: they talk to the room by MESSAGE, and come back with the same contact."""

import asyncio
import contextlib
import itertools
import json
import secrets
from collections.abc import Sequence
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from relay.client import Envelope, NotAcknowledged
from relay.model.envelope import BEFORE_ALL
from tests.chaos.reference import RunningMember, lose
from tests.sip_client import Sip, SipAgent

_AGAIN_AFTER = 0.2


class SipMember(RunningMember):
    """It sees no members, and knows the workers itself. A MESSAGE without its 200 is sent again, with the same key."""

    def __init__(self, urls: Sequence[str], room: str, peer: str, *, slow: float) -> None:
        super().__init__()
        self.members = None
        self._urls = [f"{url}/rooms/{room}" for url in urls]
        self._room = room
        self._agent = SipAgent(peer)
        self._slow = slow
        self._prefix, self._numbers = secrets.token_hex(8), itertools.count()
        self._socket: ClientConnection | None = None
        self._sending = asyncio.Lock()
        self._answers: dict[str, asyncio.Future[int]] = {}
        self._registered = asyncio.Event()
        self._heard: dict[tuple[str, int], float] = {}
        self._lost = 0.0

    async def send(self, envelope: dict[str, Any], *, timeout: float) -> None:
        body = json.dumps(envelope | {"key": f"{self._prefix}-{next(self._numbers)}"})
        try:
            async with asyncio.timeout(timeout), self._sending:
                # Locks are fair: envelopes are sent in the order of the calls.
                while not await self._try(body):
                    await asyncio.sleep(_AGAIN_AFTER)
        except TimeoutError:
            raise NotAcknowledged(possibly_sent=True) from None

    def drop(self) -> None:
        if self._socket is not None:
            lose(self._socket.transport)

    async def leave(self) -> None:
        self._left = True
        if self._socket is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._socket.close(), 1)

    async def _try(self, body: str) -> bool:
        await self._registered.wait()
        return await self._ask("MESSAGE", f"sip:{self._room}@x", body=body, kind="application/json") == 200

    async def _ask(self, method: str, uri: str, **parts: Any) -> int:
        """Send a request, and return the status of its answer; 0 if none comes in time."""
        assert self._socket is not None
        text = self._agent.request(method, uri, **parts)
        call = Sip(text)["call-id"]
        answer = self._answers[call] = asyncio.get_running_loop().create_future()
        try:
            with contextlib.suppress(ConnectionClosed):
                await self._socket.send(text)
            await asyncio.wait([answer], timeout=self._slow)
            return answer.result() if answer.done() else 0
        finally:
            del self._answers[call]

    async def _run(self) -> None:
        try:
            for url in itertools.cycle(self._urls):
                with contextlib.suppress(OSError, TimeoutError, InvalidHandshake, ConnectionClosed):
                    await self._stay(url)
                self._registered.clear()
                self._lost = asyncio.get_running_loop().time()
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
                subprotocols=[Subprotocol("sip")],
                compression=None,
                ping_interval=None,
                proxy=None,
                max_size=None,
                max_queue=None,
            )
        registering = asyncio.create_task(self._register())
        try:
            async for text in self._socket:
                assert isinstance(text, str)
                await self._take(Sip(text))
        finally:
            registering.cancel()

    async def _register(self) -> None:
        agent = self._agent
        more = (f"Contact: <{agent.contact}>", "X-Relay: messages")
        # With another Call-ID, it would be another client that knows the contact.
        if await self._ask("REGISTER", "sip:localhost", to=agent.address, call=agent.registration, more=more) == 200:
            self.welcomes += 1
            self._registered.set()
        elif self._socket is not None:
            await self._socket.close()

    async def _take(self, message: Sip) -> None:
        if message.status:
            answer = self._answers.get(message["call-id"])
            if answer is not None and not answer.done():
                answer.set_result(message.status)
            return
        assert self._socket is not None
        if "number" in message.data:
            self._hear(message.data)
        copied = [f"{name}: {message[name]}" for name in ("via", "from", "to", "call-id", "cseq")]
        # A connection that is lost still has messages that have arrived, and no way for their answers.
        with contextlib.suppress(ConnectionClosed):
            await self._socket.send("\r\n".join(["SIP/2.0 200 OK", *copied, "Content-Length: 0", "", ""]))

    def _hear(self, envelope: dict[str, Any]) -> None:
        now, message = asyncio.get_running_loop().time(), (envelope["by"], envelope["number"])
        before = self._heard.setdefault(message, now)
        if before < now and before <= self._lost:
            self.again.append(self._lost - before)
        else:
            self.put(Envelope(BEFORE_ALL, "", envelope))
