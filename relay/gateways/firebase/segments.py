"""Messages that a client sends in the URLs of its polls: each in one or more segments of Base64, which have numbers."""

import asyncio
import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Final, NamedTuple

from relay.gateways.firebase.parts import Parts
from relay.model.codec import Frame
from relay.model.errors import Refused
from relay.rooms.buffers import Buffer

MOST_EARLY: Final = 64
"""Segments that may wait for those before them: a client has two requests open, and one may overtake the other."""

_MOST_CHARACTERS: Final = 4096
"""Characters of one segment; clients cut messages to 1,840."""

_NUMBER: Final = re.compile(r"\d{1,9}", re.ASCII)
_TO_BASE64: Final = str.maketrans("-_.", "+/=")


class Segment(NamedTuple):
    """One segment: its number among all of the client, in how many segments its message is, and its bytes."""

    number: int
    total: int
    data: bytes


class TooLarge(NamedTuple):
    """A message that was too large, and the number of the request in it ("" if that is not known)."""

    key: str
    size: int


def read_segments(query: Mapping[str, str]) -> list[Segment]:
    """Return the segments in a query, in its order; raises `Refused` (`bad_query`)."""
    found: list[Segment] = []
    for index in count():
        number = query.get(f"seg{index}")
        if number is None:
            return found
        total, text = query.get(f"ts{index}", ""), query.get(f"d{index}", "")
        if not (_NUMBER.fullmatch(number) and _NUMBER.fullmatch(total) and int(total)):
            raise Refused("bad_query", "seg and ts are numbers: of the segment, and of those of its message")
        if len(text) > _MOST_CHARACTERS:
            raise Refused("bad_query", f"a segment has at most {_MOST_CHARACTERS} characters")
        try:
            data = base64.b64decode(text.translate(_TO_BASE64), validate=True)
        except (binascii.Error, ValueError):
            raise Refused("bad_query", "d is Base64 with - _ . for + / =") from None
        found.append(Segment(int(number), int(total), data))
    raise AssertionError


class Segments:
    """Puts the messages of one client together, of at most `limit` bytes.

    `on_late` is called when segments have waited for others for `seconds`. Their bytes count in the `buffer`.
    """

    __slots__ = (
        "_early",
        "_early_timer",
        "_limit",
        "_new_buffer",
        "_next",
        "_on_late",
        "_parts",
        "_seconds",
        "_waiting",
    )

    def __init__(
        self, limit: int, new_buffer: Callable[[], Buffer], seconds: float, on_late: Callable[[], None]
    ) -> None:
        self._limit = limit
        self._new_buffer = new_buffer
        self._seconds = seconds
        self._on_late = on_late
        self._next = 0
        self._parts: Parts | None = None
        self._early: dict[int, Segment] | None = None
        self._waiting: Buffer | None = None
        self._early_timer: asyncio.TimerHandle | None = None

    def add(self, segments: list[Segment]) -> Iterator[Frame | TooLarge | int]:
        """Take the segments of a request; yields the messages that are complete, and the bytes of other segments.

        A segment that came before is dropped, as browsers send a request again whose connection was lost. Raises
        `Refused` (`bad_query`) if too many segments wait for others.
        """
        for segment in segments:
            if segment.number > self._next:
                self._keep(segment)
            elif segment.number == self._next:
                yield self._take(segment)
                while self._early and (following := self._early.pop(self._next, None)):
                    yield self._take(following)
                if not self._early:
                    self._forget_early()

    def stop(self) -> None:
        """Forget all segments."""
        if self._parts is not None:
            self._parts.stop()
            self._parts = None
        self._forget_early()

    def _take(self, segment: Segment) -> Frame | TooLarge | int:
        self._next += 1
        if self._parts is None:
            if segment.total == 1 and len(segment.data) <= self._limit:
                return Frame(segment.data)
            self._parts = Parts(segment.total, self._limit, self._new_buffer(), self._seconds, self._on_late)
        parts = self._parts
        parts.add(segment.data)
        if not parts.complete:
            return len(segment.data)
        self._parts = None
        message = parts.message()
        return (
            TooLarge("" if parts.number is None else str(parts.number), len(segment.data))
            if message is None
            else message
        )

    def _keep(self, segment: Segment) -> None:
        if self._early is None:
            self._early = {}
            self._waiting = self._new_buffer()
            self._early_timer = asyncio.get_running_loop().call_later(self._seconds, self._on_late)
        if segment.number in self._early:
            return
        if len(self._early) >= MOST_EARLY:
            raise Refused("bad_query", f"at most {MOST_EARLY} segments wait for those before them")
        self._early[segment.number] = segment
        if self._waiting is not None:
            self._waiting.grow(len(segment.data))

    def _forget_early(self) -> None:
        if self._early_timer is not None:
            self._early_timer.cancel()
        if self._waiting is not None:
            self._waiting.clear()
        self._early = self._waiting = self._early_timer = None
