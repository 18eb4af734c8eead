"""The common state of the connections of one server: limits, timers, and the notices of limits that act."""

from dataclasses import dataclass, field
from typing import Any, Final

from relay.rooms.connection import CLOSE_TIMEOUT
from relay.rooms.keepalive import Keepalive
from relay.rooms.large_messages import LARGE, LargeMessages
from relay.rooms.throttle import Throttle
from relay.wire.notices import LimitNotices
from relay.wire.timeouts import Timeouts
from relay.wire.unfinished import UnfinishedMessages

GREETING_TIME: Final = 0.1
"""Seconds for which the answer to a handshake may wait for the greeting; Redis mostly takes a hundredth of that."""


@dataclass(frozen=True, slots=True)
class WireLimits:
    """The common state of all connections of a server; sizes are in bytes.

    `max_size` bounds a message. Beyond `high_water` bytes that the client has not taken, writing counts as paused.
    `throttle` spreads handshakes over turns of the event loop. `connections` holds every open connection.
    `unfinished` bounds the bytes that have arrived and that nobody has asked for. A connection may send `small_frames`
    control frames and small fragments a second, and `small_frame_burst` at once. Messages of more than `small_size`
    bytes are served by `large`. `closing` are the timeouts of connections that are being closed, `greetings`
    those of answers to handshakes that wait for a first frame.
    """

    max_size: int
    high_water: int
    keepalive: Keepalive
    throttle: Throttle
    connections: set[Any]
    unfinished: UnfinishedMessages = field(default_factory=UnfinishedMessages)
    small_frames: float = 200.0
    small_frame_burst: float = 400.0
    notices: LimitNotices = field(default_factory=LimitNotices)
    large: LargeMessages = field(default_factory=LargeMessages)
    greetings: Timeouts = field(default_factory=lambda: Timeouts(GREETING_TIME, "the answer to a handshake"))
    closing: Timeouts = field(default_factory=lambda: Timeouts(CLOSE_TIMEOUT, "the end of a connection"))
    small_size: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "small_size", min(self.max_size, LARGE - 1))
