"""Members over plain HTTP: a page with a stream and posts that race, and a program that polls and posts lists."""

import asyncio
import contextlib
import itertools
import json
import secrets
from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2 as httpx

from relay.client import NotAcknowledged
from relay.model.envelope import MessageId
from tests.chaos.reference import Reference
from tests.fleet import eventually
from tests.gateways.drivers.plain_http import EventStream
from tests.gateways.drivers.wires import Ended

_AT_ONCE = 4
"""Posts of one page that are on their way together; a browser allows six requests."""
_BATCH = 20
_PAUSE = 0.2
"""Seconds after which a request is made again that was refused for a while, or whose answer was lost."""
_WAIT = 2
_AGAIN = frozenset({429, 503, 504})
"""Statuses of answers after which a program tries again."""


class HttpMember(Reference):
    """The common part: a place that is proven by a key, and requests to any worker."""

    def __init__(self, urls: Sequence[str], room: str, peer: str, *, slow: float) -> None:
        super().__init__()
        self._urls = [url.replace("ws:", "http:") + f"/rooms/{room}" for url in urls]
        self._turns, self._posts = itertools.count(), itertools.count()
        self._prefix, self._numbers = secrets.token_hex(8), itertools.count()
        self.place = f"peer={peer}"
        self.turn = 0
        self.slow = slow
        self.left = False
        self.http = httpx.AsyncClient(timeout=slow)
        self._running: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._running = [asyncio.create_task(work) for work in self.work()]
        await eventually(lambda: self.welcomes, 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()
        for task in self._running:
            task.cancel()
        await asyncio.wait(self._running)
        await self.http.aclose()

    @abstractmethod
    def work(self) -> list[Any]:
        """The work of the member until it ends, as coroutines."""

    @abstractmethod
    def drop(self) -> None:
        """Lose the connection over which events come."""

    @abstractmethod
    def move(self) -> None:
        """Ask for events at another worker."""

    @property
    def url(self) -> str:
        """The address of the room at the worker whose turn it is."""
        return self._urls[self.turn % len(self._urls)]

    def new_key(self) -> str:
        """A key for an envelope."""
        return f"{self._prefix}-{next(self._numbers)}"

    async def post(self, content: Any, after: str = "") -> Any:
        """Post to the next worker; the answer, or None if it is to be posted again."""
        url = self._urls[next(self._posts) % len(self._urls)]
        more = f"&after={after}" if after else ""
        with contextlib.suppress(httpx.TransportError):
            response = await self.http.post(f"{url}/messages?{self.place}{more}", content=json.dumps(content))
            if response.status_code == 200:
                return response.json()
            code = response.json()["error"]["code"]
            # Without a place, the member is coming back; an envelope may be ahead of the one after which it comes.
            if response.status_code not in _AGAIN and code not in {"not_joined", "out_of_order"}:
                raise AssertionError(f"a post got {response.status_code} {code}")
        return None

    async def leave(self) -> None:
        """Say goodbye."""
        self.left = True
        with contextlib.suppress(httpx.TransportError):
            await self.http.post(f"{self.url}/leave?{self.place}")

    def take(self, fields: dict[str, Any]) -> None:
        """Take an event that is no envelope."""
        kind = "lost" if fields.get("code") == "messages_lost" else fields.get("type")
        if kind == "welcome":
            self.welcomes += 1
        if kind in {"welcome", "presence"}:
            listed = {one["peer"] for one in fields["members"]} if "members" in fields else self.members or set()
            self.on_event("members", listed - set(fields.get("left", ())) | set(fields.get("joined", ())))
        if kind == "lost" or (kind == "welcome" and fields.get("recovered") is False):
            self.on_event("lost", fields.get("reason"))


class StreamMember(HttpMember):
    """A page: it comes back as `EventSource` does, at the next worker, and each post names the one before it."""

    def __init__(self, urls: Sequence[str], room: str, peer: str, *, slow: float) -> None:
        super().__init__(urls, room, peer, slow=slow)
        # The address of an `EventSource` stays the same: the page makes the key.
        self.place += f"&resume={secrets.token_urlsafe(16)}"
        self._stream: EventStream | None = None
        self._old: list[EventStream] = []
        self._last = ""
        self._retry = 1000
        self._posting = asyncio.Semaphore(_AT_ONCE)
        self._before: tuple[str, asyncio.Future[None]] | None = None
        self._listening: asyncio.Task[None] | None = None

    def work(self) -> list[Any]:
        return [self._run()]

    def drop(self) -> None:
        if self._stream is not None:
            self._stream.abort()

    def move(self) -> None:
        """Read no more from the present stream, which stays open until the next one has its welcome."""
        if self._listening is not None and self._stream is not None:
            self._old.append(self._stream)
            self._stream = None
            self._listening.cancel()

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        self.drop()
        self._close_old()

    async def send(self, envelope: dict[str, Any], *, timeout: float) -> MessageId:
        key, before = self.new_key(), self._before
        done = asyncio.get_running_loop().create_future()
        self._before = key, done
        try:
            async with asyncio.timeout(timeout), self._posting:
                while True:
                    after = before[0] if before and not before[1].done() else ""
                    answer = await self.post(envelope | {"key": key}, after)
                    if answer is not None:
                        return MessageId.parse(answer["id"])
                    await asyncio.sleep(_PAUSE)
        except TimeoutError:
            raise NotAcknowledged(possibly_sent=True) from None
        finally:
            done.cancel()

    async def _run(self) -> None:
        while not self.left:
            moved = False
            self._listening = asyncio.create_task(self._listen())
            try:
                await self._listening
            except (OSError, TimeoutError, Ended, asyncio.IncompleteReadError):
                pass
            except asyncio.CancelledError:
                moved = bool(self._old)
                if not moved:
                    self._listening.cancel()
                    raise
            self.drop()
            self._stream = None
            self.turn += 1
            if not moved and not self.left:
                await asyncio.sleep(self._retry / 1000)

    async def _listen(self) -> None:
        address = urlsplit(self.url)
        assert address.port is not None
        path = f"{address.path}/events?{self.place}&presence=1"
        headers = {"Last-Event-ID": self._last} if self._last else {}
        async with asyncio.timeout(self.slow):
            self._stream = stream = await EventStream.open(address.port, path, **headers)
        if stream.status != 200:
            # A browser gives up.
            self.left = True
            self.on_end(stream.status, left=False)
            return
        stream.last = self._last
        while True:
            name, data = await stream.next()
            self._last, self._retry = stream.last, stream.retry or self._retry
            if name == "welcome":
                self._close_old()
                # The same is said by the event `lost`.
                data.pop("recovered", None)
            if name:
                self.take(data)
            else:
                self.on_event("message", data)

    def _close_old(self) -> None:
        while self._old:
            self._old.pop().abort()


class PollMember(HttpMember):
    """A program: it polls one worker, and the next one after a failure; it posts the gathered messages as one list.

    The key is that of its first answer.
    """

    def __init__(self, urls: Sequence[str], room: str, peer: str, *, slow: float) -> None:
        super().__init__(urls, room, peer, slow=slow)
        self._next = ""
        self._polling: asyncio.Task[Any] | None = None
        self._outbox: deque[tuple[dict[str, Any], asyncio.Future[MessageId]]] = deque()
        self._filled = asyncio.Event()

    def work(self) -> list[Any]:
        return [self._run(), self._send()]

    def drop(self) -> None:
        if self._polling is not None:
            self._polling.cancel()

    def move(self) -> None:
        self.turn += 1

    async def send(self, envelope: dict[str, Any], *, timeout: float) -> MessageId:
        sent: asyncio.Future[MessageId] = asyncio.get_running_loop().create_future()
        self._outbox.append((envelope | {"key": self.new_key()}, sent))
        self._filled.set()
        try:
            return await asyncio.wait_for(asyncio.shield(sent), timeout)
        except TimeoutError:
            raise NotAcknowledged(possibly_sent=True) from None

    async def _send(self) -> None:
        while True:
            await self._filled.wait()
            batch = list(itertools.islice(self._outbox, _BATCH))
            answers = await self.post([envelope for envelope, _ in batch])
            for (_, sent), answer in zip(batch, answers or (), strict=False):
                if "id" not in answer:
                    break
                sent.set_result(MessageId.parse(answer["id"]))
                self._outbox.popleft()
            else:
                if answers is not None:
                    if not self._outbox:
                        self._filled.clear()
                    continue
            await asyncio.sleep(_PAUSE)

    async def _run(self) -> None:
        while not self.left:
            since = f"&since={self._next}" if self._next else ""
            url = f"{self.url}/messages?{self.place}{since}&presence=1&wait={_WAIT}"
            self._polling = asyncio.create_task(self._poll(url))
            await asyncio.wait([self._polling])
            if self._polling.cancelled() or not self._polling.result():
                self.turn += 1
                await asyncio.sleep(_PAUSE)

    async def _poll(self, url: str) -> bool:
        """Poll once; whether there was an answer."""
        try:
            response = await self.http.get(url, timeout=_WAIT + self.slow)
        except httpx.TransportError:
            return False
        answer = response.json()
        if response.status_code != 200:
            code = answer["error"]["code"]
            if response.status_code not in _AGAIN and code != "superseded":
                self.left = True
                self.on_end(response.status_code, left=False)
            return False
        if not self.welcomes:
            self.place += f"&resume={answer['resume']}"
        for one in answer["messages"]:
            self.on_event("message", one)
        for one in answer.get("events", ()):
            self.take(one)
        self._next = answer["next"]
        if "closed" in answer and not answer["closed"]["reconnect"]:
            self.left = True
            self.on_end(answer["closed"]["code"], left=False)
        return "closed" not in answer
