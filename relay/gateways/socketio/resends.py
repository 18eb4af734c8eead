"""Recognises the events that a client emits again because it got no acknowledgement.

A client with the option `retries` emits an event until it is acknowledged: again after `ackTimeout`, and again when it
has reconnected. Only version 4.6.0 uses the same packet number for that. So an event is recognised by its content, and
counts as emitted again only while an event with the same content has no acknowledgement. After a reconnection, the
client's offset tells which of its messages have one (`Offset.acknowledged`).

A client that emits two equal events before the first one is acknowledged means two events. Those come within moments,
so that only an event that waits for `RESEND_AFTER` counts as emitted again on the same connection.

An acknowledgement and the same event, emitted again, may cross: the client has given the acknowledgement up, and the
relay takes the event for a new one. So a ping goes ahead of an acknowledgement that comes late. An equal event that
arrives before the pong was emitted before the acknowledgement was read.
"""

import base64
import hashlib
from collections.abc import Callable
from typing import Final

from relay.gateways.socketio.encoders import AckFrame, PacketSequence, PositionedFrame
from relay.gateways.socketio.offsets import Offset
from relay.gateways.socketio.parser import EmitKey
from relay.limits import Clock
from relay.model.codec import Frame
from relay.model.envelope import BEFORE_ALL, MessageId

RESEND_AFTER: Final = 0.25
"""Seconds without an acknowledgement after which an equal event is the same one, emitted again."""

_LATE: Final = RESEND_AFTER / 2
"""Seconds after which an acknowledgement is late: with the time on its way, it may cross with the event."""

_SETTLE_SECONDS: Final = 30.0
"""After a recovery, a client that has an event to emit again does so at once: by then it has arrived."""

MOST_PENDING: Final = 128
"""Events of one client that wait for an acknowledgement and are remembered; beyond them, the oldest is forgotten."""


Echo = Callable[[Callable[[], None]], Frame | None]
"""Returns a ping to be written at once, and calls back at the pong; None if the client is the one that pings."""


class _Pending:
    """An event of which the client has no acknowledgement, or may have none: it was `answered` behind a ping.

    `arrived` is the time of the first of its copies.
    """

    __slots__ = ("answered", "arrived", "digest", "key", "superseded")

    def __init__(self, digest: str, key: EmitKey, arrived: float) -> None:
        self.digest = digest
        self.key = key
        self.arrived = arrived
        self.superseded = self.answered = False


class Resends:
    """The events of one client in one namespace that wait for an acknowledgement.

    All frames for the client pass `outgoing`, which tells the client's offset how far its messages are acknowledged.
    `acknowledged` is the id up to which that is so at first; the client's room is the one of the newest position. With
    `recovering`, the client has said this id, and may be about to emit an event again: until then, its offset must say
    the same id, because it may be lost once more.
    """

    __slots__ = ("_acknowledged", "_clock", "_echo", "_pending", "_position", "_room", "_settles")

    def __init__(self, acknowledged: MessageId, clock: Clock, echo: Echo, *, recovering: bool = False) -> None:
        self._acknowledged = acknowledged
        self._clock = clock
        self._echo = echo
        self._settles = clock() + _SETTLE_SECONDS if recovering else 0.0
        self._pending: dict[str, _Pending] = {}
        self._position = BEFORE_ALL
        self._room: str | None = None

    def __len__(self) -> int:
        """Return how many events wait for an acknowledgement."""
        return len(self._pending)

    @property
    def settled(self) -> bool:
        """Whether no event waits, so that this object is not needed until the next one."""
        return not self._pending and self._recovered

    @property
    def _recovered(self) -> bool:
        return not self._settles or self._clock() >= self._settles

    def emitted(self, number: str, content: bytes) -> EmitKey:
        """Return the key for an event with this packet number: that of an earlier one that it repeats, or a new one."""
        digest = base64.b64encode(hashlib.blake2b(content, digest_size=18).digest()).decode("ascii")
        now = self._clock()
        same = [one for one in self._pending.values() if one.digest == digest and not one.superseded]
        arrived = now
        # The oldest of them: clients emit events again in their order.
        if same and now - same[0].arrived >= RESEND_AFTER:
            same[0].superseded = True
            # From its first copy on: the next one may come sooner after this one, which was late on its way.
            key, arrived = same[0].key, same[0].arrived
        else:
            taken = {one.key.key for one in self._pending.values() if one.digest == digest}
            ordinal = next(n for n in range(len(taken) + 1) if f"~{digest}{n}" not in taken)
            key = EmitKey(f"~{digest}{ordinal}", self._acknowledged)
        self._pending.pop(number, None)
        self._pending[number] = _Pending(digest, key, arrived)
        if len(self._pending) > MOST_PENDING:
            del self._pending[next(iter(self._pending))]
        return key

    def outgoing(self, frame: Frame) -> list[Frame]:
        """Return the frames to write in place of this one."""
        if isinstance(frame, PositionedFrame):
            return [self._positioned(frame)]
        if isinstance(frame, AckFrame):
            return self._answered(frame)
        if isinstance(frame, PacketSequence):
            return [one for packet in frame.packets for one in self.outgoing(packet)]
        return [frame]

    def _positioned(self, frame: PositionedFrame) -> Frame:
        position, room = frame.offset.position, frame.offset.room
        if room != self._room:
            if self._room is not None:
                # The client has moved to another room, with ids of its own.
                self._acknowledged = position
                self._settles = 0.0
                self._pending.clear()
            self._room = room
            self._position = position
        elif position > self._position:
            self._position = position
        return frame if self.settled else frame.with_offset(self._offset(frame.offset.position))

    def _answered(self, frame: AckFrame) -> list[Frame]:
        pending = self._pending.pop(frame.number, None)
        if frame.offset is None:
            return [frame]
        if pending is not None and pending.superseded:
            # The client waits for the acknowledgement of the same event under its new number.
            return []
        ping = None if pending is None else self._await_reading(frame.number, pending)
        position, room = frame.offset.position, frame.offset.room
        if self._room is None:
            self._room = room
        if room == self._room:
            self._acknowledged = max(self._acknowledged, position)
            self._position = max(self._position, position)
            # A client that recovers emits its waiting events first: an acknowledgement shows that it has done so.
            self._settles = 0.0
        frames = [frame, frame.position_frame(self._offset(self._position))]
        return frames if ping is None else [ping, *frames]

    def _await_reading(self, number: str, answered: _Pending) -> Frame | None:
        """Keep an event that is answered late until the client has read that; returns the ping that asks for it."""
        # Its earlier copies, of which the outcome was unknown, are never answered.
        for earlier in [one for one, other in self._pending.items() if other.key == answered.key]:
            del self._pending[earlier]
        if self._clock() - answered.arrived < _LATE or (ping := self._echo(self._read)) is None:
            return None
        answered.answered = True
        self._pending[number] = answered
        return ping

    def _read(self) -> None:
        """Forget the events whose acknowledgements the client has read."""
        self._pending = {number: one for number, one in self._pending.items() if not one.answered}

    def _offset(self, position: MessageId) -> Offset:
        settled = self._recovered and all(one.answered for one in self._pending.values())
        return Offset(position, self._room or "", None if settled else self._acknowledged)
