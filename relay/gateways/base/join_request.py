"""The values with which a gateway describes its client to a session."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic

from relay.model.codec import Codec, In
from relay.model.commands import Tracking
from relay.model.envelope import MessageId
from relay.rooms.observer import Sight


@dataclass(frozen=True, slots=True)
class ResumeClaim:
    """A membership that a client says it had, and wants to resume.

    `resume` is the resume key of that membership, and `since` the last id that the client has seen in the room; None
    stands for its delivered position, which is known if the membership was tracked.
    """

    room: str
    peer: str
    resume: str
    since: MessageId | None


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """How a client enters its own room.

    `peer` is the peer id that it asks for, or that the gateway has chosen; `resume` and `since` are as in `ResumeClaim`
    ("" and None if the client has none). `echo`, `presence` and `channels` (None: all) say what it wants to receive.
    `info` is its member info (b"" if it gives none). The welcome repeats the client's `key`. A client of a protocol
    that has no way to resume sets `can_resume` to False: its membership is not held when its connection is lost. If the
    membership of `claim` still exists, the client resumes it, and `room` and `peer` are not looked at. `tracking` is
    for a protocol whose clients cannot name the last event that they have seen: with `resume` and without `since`, the
    client goes on from its delivered position. `arrived` is the time at which the request arrived, on the worker's
    clock.
    """

    room: str
    peer: str
    resume: str = ""
    since: MessageId | None = None
    echo: bool = False
    presence: bool = False
    channels: Sequence[str] | None = None
    key: str = ""
    can_resume: bool = True
    info: bytes = b""
    claim: ResumeClaim | None = None
    tracking: Tracking = Tracking.NONE
    arrived: float = field(default_factory=time.monotonic, compare=False)


@dataclass(frozen=True, slots=True)
class ObserveRequest:
    """How a client observes a room instead of joining one.

    `sight` is how much it may see (`relay.gateways.base.observation`). `presence`, `messages` and `channels` select the
    events that it wants. The welcome repeats the client's `key`.
    """

    room: str
    sight: Sight
    presence: bool = True
    messages: bool = True
    channels: Sequence[str] | None = None
    key: str = ""


@dataclass(frozen=True, slots=True)
class CodecPair(Generic[In]):
    """A client protocol's codecs: one for the client's own room, and one whose frames name the room, for all others."""

    own: Codec[In]
    tagged: Codec[In]
