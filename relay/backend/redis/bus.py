"""The bus over Redis: one Redis channel per room, and script calls that the publications of a turn share."""

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from relay.backend.bus import BusHealth, Published, Sink, envelope_bytes, replay_of
from relay.backend.redis import infos
from relay.backend.redis.durability import Durability
from relay.backend.redis.keys import Keys
from relay.backend.redis.line import Line, Lines
from relay.backend.redis.notices import read_notice
from relay.backend.redis.place import Redis
from relay.backend.redis.publish_calls import PublishCalls
from relay.backend.redis.publishing import PublishCommands
from relay.backend.redis.scripts import REPLAY, milliseconds
from relay.backend.redis.stretches import read_stretches
from relay.backend.redis.subscriber import Arrival
from relay.backend.settings import RedisSettings, RoomSettings
from relay.limits import Clock
from relay.metrics import Metrics
from relay.model.envelope import MessageId, read_id
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
from relay.model.publication import Publication

log = logging.getLogger("relay.backend.redis")

_PAGE = 500
"""Entries of one page of the history."""

_NO_MEMBER: Final = NO_MEMBER.encode("ascii")
_NOTICE: Final = NOTICE.encode("ascii")

_TREES: Final[dict[bytes, tuple[str, ...]]] = {TREE.encode("ascii"): (TREE,), SHARED_TREE.encode("ascii"): ()}
"""Receivers of changes of trees, and those of the message that each of them becomes."""

_DOLLAR: Final = ord("$")

_GUARDS: Final = b"}:rules"
"""The end of the Redis channels of workers that can restore rules; see `Keys.guards`."""

_ASKS: Final = b"?"
"""The message of join.lua there."""

_text: Final = msgspec.json.Decoder(str)


class RedisBus:
    """Publishes by publish_together.lua and publish.lua; receives over lines of its own, which also probe themselves.

    With `durability`, publishers get their receipts only when enough replicas have the messages.
    """

    def __init__(
        self,
        sink: Sink,
        client: Redis,
        lines: Lines,
        settings: RedisSettings,
        rooms: RoomSettings,
        *,
        metrics: Metrics,
        clock: Clock,
        on_rules_asked: Callable[[str], None] = lambda room: None,
        durability: Durability | None = None,
    ) -> None:
        self._sink = sink
        self._durability = durability
        self._stack = AsyncExitStack()
        self._on_rules_asked = on_rules_asked
        self._client = client
        self._at = client.at_room
        self._keys = keys = Keys(settings.prefix, settings.database)
        self._clock = clock
        self._history = rooms.history
        self._state_ttl = milliseconds(rooms.state_ttl)
        self._commands = PublishCommands(
            keys,
            rooms,
            clock,
            metrics.unstored.inc,
            client.headroom.level_of,
            clustered=client.clustered,
            fenced=client.fenced,
        )
        client.headroom.watch(self._commands.set_level)
        self._calls = PublishCalls(self._commands, client)
        self._rooms: dict[bytes, str] = {}
        self._lines = lines
        lines.deliver(self._arrived)

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._lines)
        if self._durability is not None:
            await self._stack.enter_async_context(self._durability)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def publish(self, publication: Publication, done: Published) -> None:
        """Publish at the end of this turn of the event loop, by a call of publish_together.lua or publish.lua."""
        if self._durability is not None:
            done = partial(self._durability.confirm, publication.room, done)
        self._calls.add(publication, done)

    async def subscribe(self, rooms: Iterable[str]) -> None:
        """Subscribe to the Redis channels of these rooms, and wait for the confirmation."""
        names = list(rooms)
        for room in names:
            self._commands.add(room)
            self._rooms[self._keys.channel(room).encode("ascii")] = room
        try:
            await self._lines.subscribe([self._keys.channel(room) for room in names])
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
        self._lines.unsubscribe([self._keys.channel(room) for room in names])

    def guard(self, room: str, *, guarded: bool, history: bool) -> None:
        """Listen for requests for the rules of a room, or stop it; store its messages if it has a history."""
        channel = self._keys.guards(room)
        if guarded:
            self._rooms[channel.encode("ascii")] = room
            self._lines.add(channel)
        else:
            self._rooms.pop(channel.encode("ascii"), None)
            self._lines.unsubscribe([channel])
        self._commands.set_history(room, on=history)

    async def replay(self, room: str, after: MessageId) -> Replay:
        """Read the history by calls of replay.lua, in pages: a single long one would keep Redis from other commands."""
        keys, most = self._keys.of_room(room), self._history.replay_bytes
        events, last = list[RoomEvent](), after
        while True:
            # The room goes on meanwhile, so each page comes with the id that is the newest by then.
            newest_id, page, quiet = await self._client.run(
                REPLAY, keys, *last, _PAGE, self._state_ttl, most, self._at(room).era
            )
            # The relay's entries have one field; one with more, from another program, is not understood below.
            for _, (_, payload, *_) in page:
                self._decode(room, payload, events)
            newest, last = read_id(newest_id), read_id(page[-1][0]) if page else last
            if not page or last >= newest or envelope_bytes(events) > most:
                history = self._history if self._commands.has_history(room) else replace(self._history, size=0)
                return replay_of(after, newest, events, read_stretches(quiet, newest.epoch), history)

    def health(self) -> BusHealth:
        """Return the state of the lines, and of the part that waits for replicas."""
        health = self._lines.health()
        problem = "" if self._durability is None else self._durability.problem
        return replace(health, ready=False, problem=problem) if problem else health

    def check(self, room: str) -> None:
        """Ask the lines about the Redis channel of the room: all of a room is at one node."""
        self._lines.check(self._keys.channel(room))

    # Receiving.

    def _arrived(self, line: Line, arrivals: Sequence[Arrival]) -> None:
        events: list[Delivery] = []
        missed: list[str] = []
        probe = line.probe
        for channel, payload in arrivals:
            if channel == probe:
                line.heard()
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
            if not payload:
                # A probe on the channel that was used before: the node of a cluster has other slots now.
                return
            log.error("room %s: an event was not understood, and is lost: %r; let all relays on this redis-prefix have "
                      "the same version", room, payload[:100])  # fmt: skip


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
