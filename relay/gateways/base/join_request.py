"""The values with which a gateway describes its client to a session."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic

import msgspec
from msgspec import Struct

from relay.model.codec import Codec, In
from relay.model.commands import Tracking
from relay.model.envelope import MessageId
from relay.model.rules import Terms
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


class JoinRequest(Struct, frozen=True):
    """How a client enters its own room.

    `peer` is the peer id that it asks for, "" for one that the relay chooses; `resume` and `since` are as in
    `ResumeClaim` ("" and None if the client has none). `echo`, `presence` and `channels` (None: all) say which events
    it wants to receive. `info` is its member info (b"" if it gives none). The welcome repeats the client's `key`. A
    client of a protocol that has no way to resume sets `can_resume` to False: its membership is not held. If the
    membership of `claim` still exists, the client resumes it, and `room` and `peer` are not looked at. `tracking` is
    for a protocol whose clients cannot name the last event that they have seen: with `resume` and without `since`, the
    client goes on from its delivered position. `arrived` is the time at which the request arrived, on the worker's
    clock. `token` is as `credentials.read_token` returns it, "" for none; `password` is the one that the room's rules
    may ask for. With `own_key`, the client has made the key in `resume` itself and keeps it: it becomes that of a new
    membership as well. `opens`, `terms`, `next_key`, `held_only` and
    `found_by` are as in `Join`. With `resume_only`, a claim that is refused is not followed by a join.
    """

    room: str
    peer: str = ""
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
    arrived: float = msgspec.field(default_factory=time.monotonic)
    token: str = ""
    password: str = ""
    own_key: bool = False
    opens: bool | None = None
    terms: Terms | None = None
    next_key: str = ""
    held_only: bool = False
    found_by: str = ""
    resume_only: bool = False

    def __repr__(self) -> str:
        # Without keys, the token and the password, which must not get into a log.
        return f"JoinRequest(room={self.room!r}, peer={self.peer!r})"


@dataclass(frozen=True, slots=True)
class ObserveRequest:
    """How a client observes a room instead of joining one.

    `sight` is how much it may see without its token (`relay.gateways.base.observation`); `Guard` raises it by the
    rights of the `token`. `presence`, `messages` and `channels` select the events that it wants. The welcome repeats
    the client's `key`.
    """

    room: str
    sight: Sight
    presence: bool = True
    messages: bool = True
    channels: Sequence[str] | None = None
    key: str = ""
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class CodecPair(Generic[In]):
    """A client protocol's codecs: one for the client's own room, and one whose frames name the room, for all others."""

    own: Codec[In]
    tagged: Codec[In]
