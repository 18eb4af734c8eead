"""Members that speak RTCMultiConnection 3's events: pages that connect again by themselves, and do not join again."""

import asyncio
import contextlib
import itertools
import json
import secrets
from collections.abc import Sequence
from typing import Any, Self
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from relay.client import Envelope, NotAcknowledged
from relay.model.envelope import BEFORE_ALL
from tests.chaos.reference import Reference, lose
from tests.chaos.signals import SentSignals, Signals, all_sent
from tests.fleet import eventually
from tests.integration.rmc3 import MESSAGE, asked

_AGAIN_AFTER = 0.2
_MEMBERS = ("p0", "p1", "p2")
_ENDS = frozenset({"userid-already-taken", "closed-entire-session"})
"""Events after which a page is not in its room any more."""

_LOST = "messages_lost"
"""The code of the error that tells a page that it has missed messages."""

_TO = " (signal to "
"""In an error about a signal: its receiver follows."""

Content = dict[str, Any]


class RmcMember(Reference):
    """A page whose user talks with each other page of its room in signals; it sees no ids.

    RTCMultiConnection has no acknowledgements. So each page answers a signal with a receipt, which is a signal itself,
    and a signal without a receipt is sent again after a while, and after each loss of the connection.

    `brings_pid`: as clients from 4.6 on, the page proves with its private id that a place is its own. `signals` counts
    the signals that came over each connection of another page, `sent` those that the page sent over each of its own.
    `opened`: the page has opened its room. `owns`: the relay said last that the page owns the room. `errors` are those
    that the relay told the page.
    """

    def __init__(self, urls: Sequence[str], room: str, peer: str, *, slow: float, brings_pid: bool) -> None:
        super().__init__()
        self.members = None
        self.signals = Signals()
        self.again = self.signals.again
        self.opened = self.owns = False
        self.errors: list[str] = []
        self.sent: list[SentSignals] = []
        self.room, self.peer = room, peer
        self._slow = slow
        self._others = [other for other in _MEMBERS if other != peer]
        self._brings_pid, self._pid = brings_pid, ""
        query = urlencode({
            "EIO": "4", "transport": "websocket", "userid": peer, "sessionid": room, "msgEvent": MESSAGE,
            "autoCloseEntireSession": "false", "maxParticipantsAllowed": "1000", "extra": "{}",
        })  # fmt: skip
        self._urls = [f"{url}/socket.io/?{query}" for url in urls]
        self._socket: ClientConnection | None = None
        self._outbox: asyncio.Queue[tuple[str, Content]] = asyncio.Queue()
        # Each signal without a receipt, by receiver and number, in the order in which they were sent.
        self._pending: dict[tuple[str, int], tuple[Content, asyncio.Future[None]]] = {}
        self._taken: set[tuple[str, int]] = set()
        self._answers: dict[str, asyncio.Future[list[Any]]] = {}
        self._numbers = itertools.count()
        self._lost = 0.0
        self._left = False
        self._working: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._working = [asyncio.create_task(self._run())]
        await eventually(lambda: self.welcomes, 20)
        await self._open_or_join()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()
        for task in self._working:
            task.cancel()
        await asyncio.wait(self._working)

    async def send(self, envelope: Content, *, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        waiting = []
        for other in self._others:
            receipt = loop.create_future()
            waiting.append(receipt)
            self._pending[other, envelope["number"]] = envelope, receipt
            self._outbox.put_nowait((other, envelope))
        try:
            async with asyncio.timeout(timeout):
                while (await asyncio.wait(waiting, timeout=self._slow))[1]:
                    for other in self._others:
                        if (other, envelope["number"]) in self._pending:
                            self._outbox.put_nowait((other, envelope))
        except TimeoutError:
            raise NotAcknowledged(possibly_sent=True) from None
        finally:
            for other in self._others:
                self._pending.pop((other, envelope["number"]), None)

    def drop(self) -> None:
        if self._socket is not None:
            lose(self._socket.transport)

    async def leave(self) -> None:
        self._left = True
        if self._socket is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._socket.close(), 1)

    @property
    def signals_sent(self) -> int:
        """How many signals the page has sent."""
        return all_sent(self.sent)

    async def ask(self, name: str, *values: Any) -> list[Any]:
        """Emit an event, and return the arguments of its callback; raises `TimeoutError`, `ConnectionClosed`."""
        number = str(next(self._numbers))
        self._answers[number] = answer = asyncio.get_running_loop().create_future()
        assert self._socket is not None
        try:
            await self._socket.send(f"42{number}{json.dumps([name, *values])}")
            return await asyncio.wait_for(answer, 20)
        finally:
            del self._answers[number]

    async def _open_or_join(self) -> None:
        """Enter the room as `openOrJoin` does."""
        (exists, *_) = await self.ask("check-presence", self.room)
        answer = await self.ask("join-room" if exists else "open-room", asked(self.room))
        assert answer == [True], answer
        self.opened = self.owns = not exists

    async def _run(self) -> None:
        for url in itertools.cycle(self._urls):
            with contextlib.suppress(OSError, TimeoutError, InvalidHandshake, ConnectionClosed):
                await self._stay(url)
            self._lost = asyncio.get_running_loop().time()
            if self.sent:
                self.sent[-1].ended = True
            if self._left:
                return
            await asyncio.sleep(_AGAIN_AFTER)

    async def _stay(self, url: str) -> None:
        origin = f"https://{self.room}.example"
        async with asyncio.timeout(self._slow):
            self._socket = socket = await connect(
                url, compression=None, ping_interval=None, proxy=None, max_size=None, max_queue=None,
                additional_headers={"Origin": origin},
            )  # fmt: skip
            await socket.send("40" + (json.dumps({"pid": self._pid}) if self._brings_pid and self._pid else ""))
        writing: asyncio.Task[None] | None = None
        try:
            async for packet in socket:
                text = str(packet)
                if text == "2":
                    await socket.send("3")
                elif text.startswith("40"):
                    self._pid = json.loads(text[2:])["pid"]
                    writing = asyncio.create_task(self._write(socket))
                    self.welcomes += 1
                else:
                    self._take(text)
        finally:
            socket.transport.abort()
            if writing is not None:
                writing.cancel()
                await asyncio.wait([writing])

    async def _write(self, socket: ClientConnection) -> None:
        """Send all that has no receipt, and from then on each new signal, over one connection."""
        sent, loop = SentSignals(secrets.token_hex(6)), asyncio.get_running_loop()
        self.sent.append(sent)
        self._outbox = asyncio.Queue()
        for (other, _), (content, _) in self._pending.items():
            self._outbox.put_nowait((other, content))
        while True:
            other, content = await self._outbox.get()
            message = {"over": sent.connection, "at": sent.send(other, loop.time()), **content}
            event = [MESSAGE, {"remoteUserId": other, "message": message, "sender": self.peer}]
            await socket.send(f"42{json.dumps(event)}")

    def _take(self, packet: str) -> None:
        if packet.startswith("43"):
            start = packet.index("[")
            answer = self._answers.get(packet[2:start])
            if answer is not None and not answer.done():
                answer.set_result(json.loads(packet[start:]))
        elif packet.startswith("42"):
            self.hear(*json.loads(packet[2:]))

    def hear(self, event: str, *values: Any) -> None:
        """Take an event of the relay."""
        if event == MESSAGE:
            self._hear_signal(values[0]["sender"], values[0]["message"])
        elif event == "user-disconnected":
            self.gone(values[0])
        elif event == "set-isInitiator-true":
            self.owns = True
        elif event == "logs":
            self._hear_error(str(values[0]))
        elif event in _ENDS:
            self.on_end(0, left=False)

    def _hear_error(self, text: str) -> None:
        self.errors.append(text)
        if text.startswith(_LOST):
            self.signals.told.append(asyncio.get_running_loop().time())
        elif _TO in text:
            self.sent[-1].errors[text.rpartition(_TO)[2].rstrip(")")] += 1

    def _hear_signal(self, sender: str, message: Content) -> None:
        now = asyncio.get_running_loop().time()
        is_new = self.signals.hear(message["over"], message["at"], now=now, own_loss=self._lost)
        self.duplicates, self.disordered = self.signals.repeated, self.signals.disordered
        if "receipt" in message:
            _, receipt = self._pending.pop((sender, message["receipt"]), (None, None))
            if receipt is not None and not receipt.done():
                receipt.set_result(None)
            return
        self._outbox.put_nowait((sender, {"receipt": message["number"]}))
        # The sender may not have got the receipt of an earlier one.
        signal = sender, message["number"]
        if is_new and signal not in self._taken:
            self._taken.add(signal)
            self.put(Envelope(BEFORE_ALL, "", message))
