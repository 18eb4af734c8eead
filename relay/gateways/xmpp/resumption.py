"""Resuming a stream on any worker (XEP-0198, section 5): its memberships, and the stanzas that the client missed."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from msgspec import structs

from relay.gateways.xmpp.checkpoint import Checkpoint, Missed
from relay.gateways.xmpp.codec import RoomFrame
from relay.gateways.xmpp.namespaces import SM, STANZA_ERRORS
from relay.gateways.xmpp.reading import Element
from relay.gateways.xmpp.writing import tag
from relay.model import events
from relay.model.codec import Frame
from relay.model.commands import Join

MAX_KEY: Final = 64
"""Characters of the id of a stream."""

_MISSED_COST: Final = 256
"""Bytes that a missed stanza counts beside its own: its objects."""

_MAX_COUNT: Final = 10
"""Digits of a number of stanzas, which is below 2 to the power of 32."""


class RoomReplay:
    """Takes the events of rooms while they are resumed, and afterwards until the client is told.

    `welcomes` are those of the rooms, and `stanzas` are those after the id up to which the client had acknowledged all:
    at most `limit` bytes of all rooms, as no more may wait for a client.
    """

    def __init__(self, limit: int) -> None:
        self._room_for = limit
        self.welcomes: dict[str, events.Welcome] = {}
        self.stanzas: dict[str, list[Missed]] = {}
        self._lost = False

    def take(self, frame: RoomFrame) -> None:
        """Take an event."""
        event = frame.event
        if isinstance(event, events.Welcome):
            self.welcomes[event.room] = event
            self.stanzas[event.room] = []
            self._lost |= not event.recovered
        elif isinstance(event, events.Message):
            (one,) = frame.stanzas
            self._keep(Missed(one.frame, event.room, event.id, logged=True, stanza=one))
        elif isinstance(event, events.PresenceChange):
            for one in frame.stanzas:
                self._keep(Missed(one.frame, event.room, event.id, stanza=one))
        elif isinstance(event, events.Failure):
            self._lost = True

    def _keep(self, stanza: Missed) -> None:
        self._room_for -= len(stanza.frame.data) + _MISSED_COST
        if self._room_for >= 0:
            self.stanzas[stanza.room].append(stanza)
        else:
            self._lost = True

    def is_complete(self, rooms: Mapping[str, object]) -> bool:
        """Return whether all these rooms were resumed, and nothing of them is lost."""
        return not self._lost and self.welcomes.keys() == rooms.keys()


def membership_key(key: str, room: str, peer: str) -> str:
    """Return the resume key of a membership: the stream's key cannot be read from it."""
    digest = hmac.new(key.encode(), f"xmpp {room} {peer}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest[:24]).decode("ascii")


def keyed(join: Join, key: str, former: str = "") -> Join:
    """Return a join whose membership can be resumed with the key of its stream.

    `former` is the key of a stream that could not be resumed, "" for none: the client may take over its place.
    """
    own = membership_key(key, join.room, join.peer)
    if not former:
        return structs.replace(join, resume=own, own_key=True)
    return structs.replace(join, resume=membership_key(former, join.room, join.peer), own_key=True, next_key=own)


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """The id of the stream, the number of stanzas that the client has handled, and when the request arrived."""

    key: str
    count: int
    arrived: float


def read_request(element: Element, arrived: float) -> ResumeRequest | None:
    """Read a request to resume a stream; None if it lacks the id or the number."""
    key, count = element.get("previd"), element.get("h")
    if not 0 < len(key) <= MAX_KEY or not count.isdecimal() or len(count) > _MAX_COUNT:
        return None
    return ResumeRequest(key, int(count), arrived)


def joins_of(checkpoint: Checkpoint, request: ResumeRequest) -> list[Join]:
    """Return the commands that resume the memberships of a stream."""
    joins = []
    for place in checkpoint.places:
        join = Join(
            place.room,
            resume=membership_key(request.key, place.room, place.peer),
            own_key=True,
            since=str(place.id),
            echo=True,
            presence=True,
            peer=place.peer,
            # A late attempt must not have the place of a newer one, however long the reads before have taken.
            arrived=request.arrived,
        )
        joins.append(join)
    return joins


def resumed(key: str, handled: int) -> Frame:
    """Write that a stream is resumed."""
    return Frame(tag("resumed", {"xmlns": SM, "previd": key, "h": str(handled)}).encode())


def failed(condition: str) -> Frame:
    """Write that a stream cannot be resumed, or not be managed."""
    return Frame(tag("failed", {"xmlns": SM}, tag(condition, {"xmlns": STANZA_ERRORS})).encode())


def enabled(key: str, seconds: int) -> Frame:
    """Write that a stream is managed; with a `key`, it can be resumed for so many seconds."""
    offer = {"id": key, "resume": "true", "max": str(seconds)} if key else {}
    return Frame(tag("enabled", {"xmlns": SM, **offer}).encode())
