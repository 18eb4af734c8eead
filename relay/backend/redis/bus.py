"""The bus over Redis: one Redis channel per room, and one script call per publication."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self

import msgspec

from relay.backend.bus import BusHealth, Published, Sink, envelope_bytes, no_such_peer, replay_of
from relay.backend.redis import infos
from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.durability import Replicas
from relay.backend.redis.keys import Keys
from relay.backend.redis.master_watch import MasterWatch
from relay.backend.redis.notices import read_notice
from relay.backend.redis.publishing import PublishCommands
from relay.backend.redis.replication import RedisReplication
from relay.backend.redis.replies import RedisUnreachable, is_noscript
from relay.backend.redis.scripts import REPLAY, milliseconds
from relay.backend.redis.sentinel import Address
from relay.backend.redis.stretches import read_stretches
from relay.backend.redis.subscriber import Arrival, Subscriber
from relay.backend.settings import RedisSettings, RoomSettings
from relay.limits import Clock
from relay.metrics import Metrics
from relay.model.envelope import MembershipVersion, MessageId, Publication, Receipt, read_id
from relay.model.errors import NotMember, Refused, RelayError, Replaced, Unavailable
from relay.model.events import (
    Delivery,
    Gap,
    MemberChanged,
    MemberJoined,
    MemberLeft,
    Message,
    Replay,
    RoomEvent,
    TakenOver,
    TreeMessage,
)
from relay.model.json_text import SHALLOW_BYTES, nests_deeper
from relay.model.names import NO_MEMBER, NOTICE, SHARED_TREE, TREE
from relay.tasks import KeptLoop

log = logging.getLogger("relay.backend.redis")

_PAGE = 500
"""Entries of one page of the history."""

_NO_MEMBER, _NOTICE = NO_MEMBER.encode("ascii"), NOTICE.encode("ascii")

_TREES: dict[bytes, tuple[str, ...]] = {TREE.encode("ascii"): (TREE,), SHARED_TREE.encode("ascii"): ()}
"""Receivers of changes of trees, and those of the message that each of them becomes."""

_DOLLAR = ord("$")

_GUARDS = b"}:rules"
"""The end of the Redis channels of those that can restore rules; see `Keys.guards`."""

_ASKS = b"?"
"""The message of join.lua there."""

_text = msgspec.json.Decoder(str)


class RedisBus:
    """Publishes by publish.lua, and receives over a connection of its own.

    It also probes itself: it publishes on a Redis channel of its own, and is ready only while it receives that. With
    `replicas`, publishers get their receipts only when these have the messages.
    """

    def __init__(
        self,
        sink: Sink,
        client: RedisClient,
        dialer: Dialer,
        settings: RedisSettings,
        rooms: RoomSettings,
        *,
        worker: str,
        metrics: Metrics,
        clock: Clock,
        on_rules_asked: Callable[[str], None] = lambda room: None,
        replicas: Replicas | None = None,
    ) -> None:
        self._sink = sink
        self._replicas = replicas
        self._on_rules_asked = on_rules_asked
        self._client = client
        self._dialer = dialer
        self._keys = keys = Keys(settings.prefix, settings.database)
        self._clock = clock
        self._probe_timeout = settings.probe_timeout
        self._history = rooms.history
        self._state_ttl = milliseconds(rooms.state_ttl)
        self._commands = PublishCommands(keys, rooms, clock, metrics.unstored.inc)
        client.headroom.watch(self._commands.set_level)
        self._rooms: dict[bytes, str] = {}
        self._probe_channel = keys.probe(worker)
        self._probe_bytes = self._probe_channel.encode("ascii")
        self._heard: float | None = None
        # When Redis answered the oldest probe that is still to come back; None if there is none.
        self._unheard: float | None = None
        self._stack = AsyncExitStack()
        self._prober: KeptLoop | None = None
        self._watch: KeptLoop | None = None
        # Why Redis refused the last probe, in its own words; "" if it took the probe, or is away.
        self._refusal = ""
        self._replication = RedisReplication(client, dialer, metrics, needed=settings.replicas, clock=clock)
        self._subscriber = Subscriber(
            dialer,
            timeout=settings.timeout,
            on_arrivals=self._arrived,
            on_reconnect=metrics.redis_reconnects.inc,
        )

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._subscriber)
        if self._replicas is not None:
            await self._stack.enter_async_context(self._replicas)
        self._prober = KeptLoop(self._probe, "bus probe")
        if self._dialer.has_sentinels:
            self._watch = KeptLoop(MasterWatch(self._dialer, self._follow).run, "watch on the master")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for loop in (self._watch, self._prober):
            if loop is not None:
                await loop.stop()
        await self._stack.aclose()
        await self._dialer.close()

    def publish(self, publication: Publication, done: Published) -> None:
        """Publish by one call of publish.lua."""
        if self._replicas is not None:
            done = partial(self._replicas.after, done)
        self._client.send(self._commands.write(publication), partial(self._published, publication, done))

    async def subscribe(self, rooms: Iterable[str]) -> None:
        """Subscribe to the Redis channels of these rooms, and wait for the confirmation."""
        names = list(rooms)
        for room in names:
            self._commands.add(room)
            self._rooms[self._keys.channel(room).encode("ascii")] = room
        try:
            await self._subscriber.subscribe([self._keys.channel(room) for room in names])
        except BaseException:
            # The caller counts these rooms as not subscribed, and will never unsubscribe from them.
            await self.unsubscribe(names)
            raise

    async def unsubscribe(self, rooms: Iterable[str]) -> None:
        """Unsubscribe from the Redis channels of these rooms, without waiting for the confirmation."""
        names = list(rooms)
        for room in names:
            self._commands.remove(room)
            self._rooms.pop(self._keys.channel(room).encode("ascii"), None)
        self._subscriber.unsubscribe([self._keys.channel(room) for room in names])

    def guard(self, room: str, *, guarded: bool, history: bool) -> None:
        """Listen for those that ask for the rules of a room, or stop it; store its messages if it has a history."""
        channel = self._keys.guards(room)
        if guarded:
            self._rooms[channel.encode("ascii")] = room
            self._subscriber.add(channel)
        else:
            self._rooms.pop(channel.encode("ascii"), None)
            self._subscriber.unsubscribe([channel])
        self._commands.set_history(room, on=history)

    async def replay(self, room: str, after: MessageId) -> Replay:
        """Read the history by calls of replay.lua, in pages: a single long one would keep Redis from other commands."""
        keys, most = self._keys.of_room(room), self._history.replay_bytes
        events, last = list[RoomEvent](), after
        while True:
            # The room goes on meanwhile, so each page comes with the id that is the newest by then.
            newest_id, page, quiet = await self._client.run(
                REPLAY, keys, *last, _PAGE, self._state_ttl, most, self._client.era
            )
            # The relay's entries have one field; one with more, from another program, is not understood below.
            for _, (_, payload, *_) in page:
                self._decode(room, payload, events)
            newest, last = read_id(newest_id), read_id(page[-1][0]) if page else last
            if not page or last >= newest or envelope_bytes(events) > most:
                history = self._history if self._commands.has_history(room) else replace(self._history, size=0)
                return replay_of(after, newest, events, read_stretches(quiet, newest.epoch), history)

    def health(self) -> BusHealth:
        """Return the state: ready while the last own probe is not too long ago, and all tasks run."""
        health, confirmed = self._health(), self._replicas is None or not self._replicas.report
        if not self._replication.is_known:
            return health
        text = self._replication.text
        if self._replicas is not None and not confirmed:
            text = f"{text}; messages are not confirmed: {self._replicas.report}"
        return replace(health, replicas=text, replicated=confirmed and self._replication.suffices)

    def _health(self) -> BusHealth:
        heard = None if self._heard is None else self._clock() - self._heard
        dead = [f"{loop.name} {loop.problem}" for loop in self._loops() if loop.problem]
        if dead:
            return BusHealth(False, self._client.reachable, heard, "; ".join(dead))
        if heard is not None and heard <= self._probe_timeout:
            return BusHealth(True, self._client.reachable, heard, self._client.report)
        since = "yet" if heard is None else f"for {heard:.1f} s"
        cause = (
            self._client.report
            or self._subscriber.report
            or self._refusal
            or "connected, but nothing arrives; connecting again"
        )
        return BusHealth(False, self._client.reachable, heard, f"own probe not heard {since}: {cause}")

    def _loops(self) -> list[KeptLoop]:
        replicas = None if self._replicas is None else self._replicas.loop
        loops = (self._prober, self._watch, self._subscriber.loop, self._client.loop, replicas)
        return [loop for loop in loops if loop is not None]

    def _follow(self, master: Address) -> None:
        """Leave each Redis that is not the master."""
        for link in (self._client, self._subscriber, self._replicas):
            if link is not None:
                link.follow(master)

    # Publishing: the hot path, where each line runs once per message.

    def _published(self, publication: Publication, done: Published, reply: Any) -> None:
        # `type` and not `isinstance`, which is slower; the fast path replies with nothing but the id.
        if type(reply) is bytes:
            done(Receipt(reply))
        elif is_noscript(reply):
            # Written again and not kept: that would cost memory for each message, and this happens hardly ever.
            self._client.resend(self._commands.write(publication), lambda reply: done(self._outcome(reply)))
        else:
            done(self._outcome(reply))

    def _outcome(self, reply: Any) -> Receipt | RelayError:
        match reply:
            case bytes():
                return Receipt(reply)
            case [b"sent", bytes() as text, bytes() as version]:
                return Receipt(text, version=MembershipVersion(int(version), read_id(text).epoch))
            case [b"repeat", bytes() as text]:
                return Receipt(text, repeat=True)
            case [b"early"]:
                return Refused("out_of_order")
            case [b"absent", [*peers]]:
                return no_such_peer([peer.decode("ascii") for peer in peers])
            case [b"replaced"]:
                return Replaced()
            case [b"unknown"]:
                return NotMember()
            case _:
                return self._client.script_error(reply)

    # Receiving.

    def _arrived(self, arrivals: Sequence[Arrival]) -> None:
        events: list[Delivery] = []
        missed: list[str] = []
        for channel, payload in arrivals:
            if channel == self._probe_bytes:
                self._heard, self._unheard = self._clock(), None
            elif payload is None:
                if channel.endswith(_GUARDS):
                    # A client that needs the rules makes join.lua ask again.
                    continue
                # Collected: the loss of a connection concerns all rooms, and one Gap for all of them costs less than
                # one for each. The Gap must come before the first event that follows it.
                missed.append(self._keys.room_of(channel))
            else:
                if missed:
                    events.append(Gap(missed))
                    missed = []
                # The name of a room is looked up where possible: it is one string for all of its events.
                self._decode(self._rooms.get(channel) or self._keys.room_of(channel), payload, events)
        if missed:
            events.append(Gap(missed))
        if events:
            self._sink(events)

    def _decode(self, room: str, payload: bytes, events: list[Any]) -> None:
        """Add the event; one that cannot be read leaves a hole in the ids, by which members learn of the loss."""
        try:
            events.append(decode(room, payload))
        except ValueError:
            if payload == _ASKS:
                self._on_rules_asked(room)
                return
            log.error("room %s: an event was not understood, and is lost: %r; let all relays on this redis-prefix have "
                      "the same version", room, payload[:100])  # fmt: skip

    # The probe.

    async def _probe(self) -> None:
        # A connection that is cut without a sign looks like one on which nothing is published. So the bus publishes
        # a probe itself: when it comes back, commands, Redis and the subscription have all worked.
        self._subscriber.add(self._probe_channel)
        while True:
            sent = self._clock()
            try:
                async with asyncio.timeout(self._probe_timeout):
                    await self._client.call("PUBLISH", self._probe_channel, b"")
                self._refusal = ""
                if self._unheard is None and (self._heard is None or self._heard < sent):
                    self._unheard = self._clock()
            except (RelayError, TimeoutError) as error:
                self._refusal = error.report if isinstance(error, Unavailable) else ""
                log.debug("the probe could not be published")
            self._replication.ask()
            # Also right after Redis has come back: the subscription may have died without a sign in the meantime.
            self._rebuild_if_deaf()
            await asyncio.sleep(self._probe_timeout / 3)

    def _rebuild_if_deaf(self) -> None:
        # If commands fail as well, Redis is away, and another connection would not help; nor does it if Redis refuses
        # the probe, or if there is no subscription. The time runs from the answer to a probe: while the worker, or
        # Redis, stood still, there was none, and nothing was missed.
        usable = self._client.reachable and not self._refusal
        if usable and self._unheard is not None and self._clock() - self._unheard > self._probe_timeout:
            self._unheard = None
            text = f"own probe not heard for {self._probe_timeout:g} s"
            self._subscriber.rebuild(RedisUnreachable(f"subscription deaf: {text}", text))


def decode(room: str, payload: bytes) -> RoomEvent:
    """Read an event as the scripts publish and store it; raises ValueError for anything else.

    A message is `m ID SENDER RECEIVERS`, a line with its channel in JSON, and the envelope up to the closing brace. A
    space behind the channel, which JSON allows, says that the sender's worker has counted the envelope's levels.
    With `$info` as its receiver it is the event that a member's info changed: its sender is the member, its body the
    info, packed. With `$room`, it is a room notice; with `$tree` or `$shared-tree`, a change of the tree. Other events
    are `j ID PEER` (joined), `l ID PEER` (left) and `t ID PEER GENERATION` (taken over; a plus sign before the number
    marks a repeated key).
    """
    kind = payload[:2]
    if kind == b"m ":
        head, channel, body = payload.split(b"\n", 2)
        if len(body) > SHALLOW_BYTES and not channel.endswith(b" ") and nests_deeper(body):
            # Its sender has not checked it: that is an earlier version of the relay, or another program. The message
            # would break clients.
            raise ValueError("a message nested too deep")
        _, message_id, sender, to = head.split(b" ")
        receivers: tuple[str, ...] = ()
        if to:
            # No peer id has this character.
            if to[0] == _DOLLAR:
                if to == _NOTICE:
                    return read_notice(room, read_id(message_id), body)
                if to == _NO_MEMBER:
                    return MemberChanged(room, read_id(message_id), sender.decode("ascii"), infos.unpack(body))
                if to in _TREES:
                    return TreeMessage(
                        room, read_id(message_id), sender.decode("ascii"), _TREES[to], _text.decode(channel), body
                    )
            receivers = tuple(to.decode("ascii").split(","))
        return Message(
            room,
            read_id(message_id),
            sender.decode("ascii"),
            receivers,
            _text.decode(channel) if channel != b'"" ' else "",
            body,
        )
    _, first, peer, *more = payload.decode("ascii").split(" ")
    event_id = MessageId.parse(first)
    match kind, more:
        case b"j ", []:
            return MemberJoined(room, event_id, peer)
        case b"l ", []:
            return MemberLeft(room, event_id, peer)
        case b"t ", [generation]:
            return TakenOver(room, event_id, peer, int(generation), repeated=generation[0] == "+")
    raise ValueError(f"unknown kind {kind!r}")
