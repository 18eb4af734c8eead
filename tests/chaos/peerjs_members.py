"""Members over PeerServer's wire: a page of PeerJS whose code calls `reconnect()` when its socket is lost."""

import asyncio
import contextlib
import itertools
import json
import secrets
from collections.abc import Sequence
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from relay.client import Envelope, NotAcknowledged
from relay.model.envelope import BEFORE_ALL
from tests.chaos.reference import RunningMember, lose

_HEARTBEAT = 5.0
_AGAIN_AFTER = 0.2


class PeerJsMember(RunningMember):
    """It talks in frames of the type `RELAY`, sees no members and no ids, and knows the workers themselves.

    PeerServer has no acknowledgements. After each envelope, it writes one to a peer that does not exist: its error
    comes when Redis has had both. An envelope without that is sent again, with the same key.
    """

    def __init__(self, urls: Sequence[str], room: str, peer: str, *, slow: float) -> None:
        super().__init__()
        self.members = None
        query = f"key=peerjs&id={peer}&token={secrets.token_urlsafe(12)}&version=1.5.5"
        self._urls = [f"{url}/rooms/{room}/peerjs?{query}" for url in urls]
        self._slow = slow
        self._prefix, self._numbers = secrets.token_hex(8), itertools.count()
        self._socket: ClientConnection | None = None
        self._sending = asyncio.Lock()
        self._answers: dict[str, asyncio.Future[str]] = {}
        self._opened = asyncio.Event()
        self._heard: dict[tuple[str, int], float] = {}
        self._lost = 0.0

    async def send(self, envelope: dict[str, Any], *, timeout: float) -> None:
        key = f"{self._prefix}-{next(self._numbers)}"
        try:
            async with asyncio.timeout(timeout), self._sending:
                # Locks are fair: envelopes are sent in the order of the calls.
                while not await self._try(key, envelope | {"key": key}):
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

    async def _try(self, key: str, envelope: dict[str, Any]) -> bool:
        await self._opened.wait()
        assert self._socket is not None
        probe = f"{key}-{next(self._numbers)}"
        answers = [self._answer_to(one) for one in (key, probe)]
        frames = [
            {"type": "RELAY", "payload": envelope},
            {"type": "RELAY", "dst": "nobody", "payload": {"key": probe}},
        ]
        try:
            with contextlib.suppress(ConnectionClosed):
                for frame in frames:
                    await self._socket.send(json.dumps(frame))
            await asyncio.wait(answers, timeout=self._slow, return_when=asyncio.FIRST_COMPLETED)
            return answers[1].done() and answers[1].result() == "no_such_peer" and not answers[0].done()
        finally:
            del self._answers[key], self._answers[probe]

    def _answer_to(self, key: str) -> "asyncio.Future[str]":
        self._answers[key] = answer = asyncio.get_running_loop().create_future()
        return answer

    async def _run(self) -> None:
        loop, beating = asyncio.get_running_loop(), asyncio.create_task(self._beat())
        try:
            for url in itertools.cycle(self._urls):
                with contextlib.suppress(OSError, TimeoutError, InvalidHandshake, ConnectionClosed):
                    await self._stay(url)
                self._opened.clear()
                self._lost = loop.time()
                if self._left:
                    return
                await asyncio.sleep(_AGAIN_AFTER)
        finally:
            beating.cancel()
            if self._socket is not None:
                self._socket.transport.abort()

    async def _stay(self, url: str) -> None:
        async with asyncio.timeout(self._slow):
            self._socket = await connect(
                url, compression=None, ping_interval=None, proxy=None, max_size=None, max_queue=None
            )
            first = json.loads(await self._socket.recv())
        if first["type"] != "OPEN":
            # Both end the peer for good.
            self._left = True
            self.on_end(0, left=False)
            return
        self.welcomes += 1
        self._opened.set()
        async for text in self._socket:
            self._take(json.loads(text))

    def _take(self, frame: dict[str, Any]) -> None:
        payload = frame.get("payload")
        if frame["type"] == "RELAY" and "number" in payload:
            self._hear(payload)
        elif frame["type"] == "RELAY-ERROR":
            answer = self._answers.get(payload.get("key", ""))
            if answer is not None and not answer.done():
                answer.set_result(payload["code"])

    def _hear(self, envelope: dict[str, Any]) -> None:
        now, message = asyncio.get_running_loop().time(), (envelope["by"], envelope["number"])
        before = self._heard.setdefault(message, now)
        if before < now and before <= self._lost:
            self.again.append(self._lost - before)
        else:
            self.put(Envelope(BEFORE_ALL, "", envelope))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT)
            if self._socket is not None and self._opened.is_set():
                with contextlib.suppress(ConnectionClosed):
                    await self._socket.send('{"type":"HEARTBEAT"}')
