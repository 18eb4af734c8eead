"""A client of the relay's protocol in Python. It needs the package `websockets` and nothing else."""

import asyncio
import contextlib
import itertools
import json
import random
import secrets
from urllib.parse import quote

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

SEND_AGAIN = {"unavailable", "too_fast", "outcome_unknown", "internal", "out_of_order", "not_joined", "replaced"}
FINAL = {1000, 1002, 1007, 1009, *range(4500, 5000)}
WINDOW = 16  # envelopes that are sent ahead of their acknowledgements


class Client:
    """A member of one room. `on_event` is called with ("message", envelope), ("members", set) or ("lost", reason)."""

    def __init__(self, urls, room, peer, on_event, *, slow=5.0):
        self.urls, self.on_event, self.slow = urls, on_event, slow
        self.address = f"/rooms/{quote(room, safe='')}?peer={quote(peer, safe='')}&presence=1"
        self.key = secrets.token_urlsafe(16)  # the client's own first key: it can resume even without its first welcome
        self.position = None  # the id of the newest event, as (epoch, sequence)
        self.members = set()
        self.waiting = {}  # key: (envelope, future), in the order of `publish`, until the relay has answered
        self.sent = set()  # the keys of envelopes that were sent over this connection
        self.again = None  # the timer after which all that wait are sent again, after an error
        self.socket = self.outgoing = None
        self.welcomes = self.duplicates = 0
        self.left = False

    async def run(self):
        """Stay in the room, over one connection after the other. Return the close code that ends this for good."""
        urls, bound = itertools.cycle(self.urls), 0.25
        while not self.left:
            welcomes = self.welcomes
            code, self.outgoing = await self._connect(next(urls)), None
            if code in FINAL:
                return code
            bound = 0.25 if self.welcomes > welcomes else min(2 * bound, 10)
            await asyncio.sleep(random.uniform(0, bound))
        return 1000

    def publish(self, envelope):
        """Send an envelope, again and again until it is acknowledged. The future gets its id, or the relay's error."""
        key, future = secrets.token_urlsafe(12), asyncio.get_running_loop().create_future()
        self.waiting[key] = envelope, future
        self._send()
        return future

    async def leave(self):
        """Leave the room, so that the others see it at once."""
        self.left = True
        if self.socket:
            await self.socket.close()

    async def _connect(self, url):
        """Serve one connection until it ends, and return its close code: 1006 if there was none."""
        since = "&since={}-{}".format(*self.position) if self.position else ""
        protocols, options = ["relay.v1", f"resume.{self.key}"], {"max_size": None, "ping_interval": None}
        self.socket = writing = None
        try:
            async with asyncio.timeout(self.slow):
                self.socket = await connect(url + self.address + since, subprotocols=protocols, proxy=None, **options)
            while not self.left:
                async with asyncio.timeout(self.slow):  # the relay answers a join, and later a ping, sooner than this
                    self._receive(json.loads(await self.socket.recv()))
                if self.outgoing and not writing:
                    writing = asyncio.create_task(self._write())
            return 1000
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006
        except (OSError, TimeoutError, InvalidHandshake):
            return 1006
        finally:
            if writing:
                writing.cancel()
            if self.socket and self.left:
                await self.socket.close()
            elif self.socket:
                self.socket.transport.abort()

    async def _write(self):
        """Write the frames in `outgoing`, and a ping when there is none for a while."""
        outgoing = self.outgoing
        with contextlib.suppress(ConnectionClosed):
            while True:
                try:
                    async with asyncio.timeout(self.slow / 3):
                        frame = await outgoing.get()
                except TimeoutError:
                    frame = {"type": "ping"}
                await self.socket.send(json.dumps(frame))

    def _send(self, *, again=False):
        """Send the first of the envelopes that wait. Each names the one before it, so that none overtakes another."""
        self.sent, self.again = (set(), None) if again else (self.sent, self.again)
        before = {}
        for key in itertools.islice(self.waiting, WINDOW):
            if self.outgoing and key not in self.sent:
                self.sent.add(key)
                self.outgoing.put_nowait({"type": "publish", "key": key, "envelope": self.waiting[key][0], **before})
            before = {"after": key}

    def _receive(self, frame):
        kind, code, key = frame.get("type"), frame.get("code"), frame.get("key")
        id_ = tuple(map(int, frame["id"].split("-"))) if "id" in frame else (0, 0)
        if kind is None:  # an envelope, whose other fields are the sender's
            self._hear(frame, id_)
        elif kind == "welcome":
            lost = self.position is not None and not frame.get("recovered")
            self.welcomes, self.key = self.welcomes + 1, frame["resume"]
            self.position, self.outgoing = id_, asyncio.Queue()
            self._send(again=True)
            if lost:
                self.on_event("lost", frame.get("reason"))
        elif code == "messages_lost":
            self.position = id_
            self.on_event("lost", frame["reason"])
        elif code == "not_joined":
            self.socket.transport.abort()  # the next connection joins again
        elif code in SEND_AGAIN:
            if key in self.sent and not self.again:  # errors mostly come for all of them, and one timer is enough
                delay, loop = random.uniform(0.1, 0.5), asyncio.get_running_loop()
                self.again = loop.call_later(delay, lambda: self._send(again=True))
        elif kind in {"ack", "error"} and key in self.waiting:
            _, future = self.waiting.pop(key)
            if not future.done():  # the caller may have stopped waiting for it
                future.set_result(id_) if kind == "ack" else future.set_exception(RuntimeError(code))
            self._send()
        self.position = self.position and max(self.position, id_)
        if kind in {"welcome", "presence"}:
            listed = {member["peer"] for member in frame["members"]} if "members" in frame else self.members
            self.members = listed - set(frame.get("left", ())) | set(frame.get("joined", ()))
            self.on_event("members", self.members)

    def _hear(self, envelope, id_):
        """Pass a message on, unless it is a duplicate."""
        if id_ > self.position:
            self.on_event("message", envelope)
        else:
            self.duplicates += 1
