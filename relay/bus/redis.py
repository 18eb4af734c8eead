"""The bus over Redis: one pub/sub channel per room, one script call per publish."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import msgspec

from relay.bus.base import BusHealth, Sink
from relay.bus.subscriber import Arrival, Subscriber
from relay.envelope import MessageId, Publication, Receipt
from relay.errors import NotMember, OutcomeUnknown, Refused, RelayError, Replaced
from relay.events import Delivery, Gap, Joined, Left, Message, RoomEvent, TakenOver
from relay.limits import Clock
from relay.metrics import Metrics
from relay.redis.client import RedisClient
from relay.redis.keys import Keys
from relay.redis.link import Dialer
from relay.redis.scripts import PUBLISH

log = logging.getLogger("relay.bus")

REPEAT_KEYS = 1000
REPEAT_TTL = 120.0
"""Repeat keys remembered per room, and for how long after the last one (seconds)."""

_json = msgspec.json.Encoder()


class RedisBus:
    """See `Bus`. Also probes itself: publishes on a private channel, and is ready only while it hears that."""

    def __init__(
        self,
        sink: Sink,
        client: RedisClient,
        dialer: Dialer,
        *,
        keys: Keys,
        worker: str,
        metrics: Metrics,
        clock: Clock,
        probe_interval: float,
        publish_timeout: float,
        sequence_ttl: float,
    ) -> None:
        self._sink = sink
        self._client = client
        self._keys = keys
        self._metrics = metrics
        self._clock = clock
        self._probe_interval = probe_interval
        self._sequence_ttl = int(sequence_ttl * 1000)
        self._probe_channel = keys.probe(worker)
        self._probe_bytes = self._probe_channel.encode("ascii")
        self._heard: float | None = None
        self._rebuilt = clock()
        self._stack = AsyncExitStack()
        self._prober: asyncio.Task[None] | None = None
        self._subscriber = Subscriber(
            dialer,
            timeout=publish_timeout,
            on_arrivals=self._arrived,
            on_reconnect=metrics.bus_reconnects.inc,
        )

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._subscriber)
        self._prober = asyncio.create_task(self._probe(), name="bus probe")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._prober is not None:
            self._prober.cancel()
            await asyncio.wait([self._prober])
        await self._stack.aclose()

    async def publish(self, publication: Publication) -> Receipt:
        """See `Bus.publish`."""
        tail = b"%s %s\n%s\n%s" % (
            publication.sender.encode("ascii"),
            ",".join(publication.to).encode("ascii"),
            _json.encode(publication.channel),
            publication.body,
        )
        status, *rest = await self._client.run(
            PUBLISH,
            self._keys.of_room(publication.room),
            self._keys.channel(publication.room),
            publication.sender,
            publication.generation,
            publication.key,
            tail,
            self._sequence_ttl,
            *publication.seen,
            REPEAT_KEYS,
            int(REPEAT_TTL * 1000),
            *publication.to,
        )
        return _receipt(status, rest)

    async def subscribe(self, rooms: Iterable[str]) -> None:
        """See `Bus.subscribe`."""
        await self._subscriber.subscribe([self._keys.channel(room) for room in rooms])

    async def unsubscribe(self, rooms: Iterable[str]) -> None:
        """See `Bus.unsubscribe`."""
        self._subscriber.unsubscribe([self._keys.channel(room) for room in rooms])

    def health(self) -> BusHealth:
        """See `Bus.health`; ready while the own probe was heard within the probe interval, and every task lives."""
        heard = None if self._heard is None else self._clock() - self._heard
        dead = [task.get_name() for task in self._tasks() if task.done()]
        if dead:
            return BusHealth(False, self._client.reachable, heard, f"{', '.join(dead)}: the task has died")
        if heard is not None and heard <= self._probe_interval:
            return BusHealth(True, self._client.reachable, heard)
        ago = "yet" if heard is None else f"for {heard:.1f} s"
        why = self._client.problem or self._subscriber.problem or "connected, but deaf; connecting again"
        return BusHealth(False, self._client.reachable, heard, f"own probe not heard {ago}: {why}")

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [task for task in (self._prober, self._subscriber.task, self._client.task) if task is not None]

    # What is heard.

    def _arrived(self, arrivals: Sequence[Arrival]) -> None:
        events: list[Delivery] = []
        missed: list[str] = []
        for channel, payload in arrivals:
            if channel == self._probe_bytes:
                self._heard = self._clock()
            elif payload is None:
                missed.append(self._keys.room_of(channel))
            else:
                if missed:
                    events.append(Gap(missed))
                    missed = []
                self._read(channel, payload, events)
        if missed:
            events.append(Gap(missed))
        if events:
            self._sink(events)

    def _read(self, channel: bytes, payload: bytes, events: list[Delivery]) -> None:
        try:
            events.append(decode(self._keys.room_of(channel), payload))
        except ValueError:
            log.error("not understood on channel %r: %r; does another version of the relay share this prefix?",
                      channel, payload[:100])  # fmt: skip

    # The probe.

    async def _probe(self) -> None:
        self._subscriber.want(self._probe_channel)
        while True:
            try:
                async with asyncio.timeout(self._probe_interval):
                    await self._client.call("PUBLISH", self._probe_channel, b"")
            except (RelayError, TimeoutError):
                log.debug("the probe could not be published")
            await asyncio.sleep(self._probe_interval / 3)
            self._rebuild_if_deaf()

    def _rebuild_if_deaf(self) -> None:
        last = max(self._heard or 0, self._rebuilt)
        if self._client.reachable and self._clock() - last > self._probe_interval:
            log.warning("subscription deaf: own probe not heard for %.1f s; connecting again", self._clock() - last)
            self._rebuilt = self._clock()
            self._subscriber.rebuild()


def decode(room: str, payload: bytes) -> RoomEvent:
    """Read what a script published; raises ValueError or a subclass for anything else."""
    kind = payload[:2]
    if kind == b"m ":
        head, channel, body = payload.split(b"\n", 2)
        _, message_id, sender, to = head.split(b" ")
        return Message(
            room,
            MessageId.parse(message_id.decode("ascii")),
            sender.decode("ascii"),
            tuple(to.decode("ascii").split(",")) if to else (),
            msgspec.json.decode(channel, type=str) if channel != b'""' else "",
            body,
        )
    _, first, peer = payload.decode("ascii").split(" ")
    if kind == b"j ":
        return Joined(room, MessageId.parse(first), peer)
    if kind == b"l ":
        return Left(room, MessageId.parse(first), peer)
    if kind == b"t ":
        return TakenOver(room, peer, int(first))
    raise ValueError(f"unknown kind {kind!r}")


def _receipt(status: bytes, rest: Sequence[object]) -> Receipt:
    match status, rest:
        case ((b"sent" | b"repeat"), [bytes() as text]):
            return Receipt(MessageId.parse(text.decode("ascii")), repeat=status == b"repeat")
        case b"absent", [list() as peers]:
            names = [peer.decode("ascii") for peer in peers]
            raise Refused("no_such_peer", f"not in the room: {', '.join(names[:10])}; nothing was sent", peers=names)
        case b"replaced", _:
            raise Replaced()
        case b"unknown", _:
            raise NotMember()
        case _:
            raise OutcomeUnknown(f"Redis answered {status!r}")
