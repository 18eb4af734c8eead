"""A case: the bytes that a client sends, and the replies that it accepts."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, Literal, NamedTuple

from tests.conformance.autobahn.wire import CLOSE, Frame

FRAMEWISE: Final = 0
"""A value for `chop`: each frame in a write of its own."""


class Event(NamedTuple):
    """An event that a client notices before the connection ends."""

    kind: Literal["text", "binary", "ping", "pong", "waited"]
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Answered:
    """A step: wait until the server has sent something."""


@dataclass(frozen=True, slots=True)
class Waited:
    """A step: wait a moment; a connection that is still open then counts as an event."""

    seconds: float = 0.25


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes that are written at once."""

    data: bytes
    closes: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection may end: the side that closes, the server's codes, and whether both must send a close frame."""

    by: Literal["client", "server"]
    codes: frozenset[int | None]
    clean: bool = False


NORMAL: Final = Ending("client", frozenset({1000}), clean=True)
PROTOCOL_ERROR: Final = Ending("server", frozenset({1002}))
NOT_UTF8: Final = Ending("server", frozenset({1007}))


@dataclass(frozen=True, slots=True)
class Case:
    """A case of the suite, by its number there.

    The frames between two other steps are one write, unless `chop` is a number of bytes or `FRAMEWISE`; then `pace`
    seconds pass between two writes, or the kernel would put them together again. A client that is to close does so by
    itself once it has heard enough for an outcome, unless the steps have a close frame.
    """

    number: str
    title: str
    steps: tuple[Frame | bytes | Answered | Waited, ...]
    ok: tuple[Event, ...] = ()
    non_strict: tuple[Event, ...] | None = None
    ending: Ending = NORMAL
    chop: int | None = None
    pace: float = 0.0005
    patience: float = 5.0
    informational: bool = False
    offer: str | None = None

    @property
    def closes(self) -> bool:
        """Whether the steps have a close frame, so that none may be added."""
        return any(isinstance(step, Frame) and _closes(step) for step in self.steps)

    def moves(self) -> Iterator[Write | Answered | Waited]:
        """The steps, with frames made into writes."""
        for waits, steps in groupby(self.steps, lambda step: isinstance(step, Answered | Waited)):
            if waits:
                yield from steps  # type: ignore[misc]
            else:
                yield from self._writes([step for step in steps if isinstance(step, Frame | bytes)])

    def _writes(self, steps: list[Frame | bytes]) -> Iterator[Write]:
        whole = [Write(step) if isinstance(step, bytes) else _written(step) for step in steps]
        if self.chop is None:
            yield Write(b"".join(write.data for write in whole), any(write.closes for write in whole))
        elif self.chop == FRAMEWISE:
            yield from whole
        else:
            for write in whole:
                for start in range(0, len(write.data), self.chop):
                    yield Write(write.data[start : start + self.chop], write.closes)


def _closes(frame: Frame) -> bool:
    # With a reserved bit it may mean anything, so that the server closes.
    return frame.opcode == CLOSE and frame.rsv == 0


def _written(frame: Frame) -> Write:
    return Write(frame.encode(), closes=_closes(frame))


@dataclass(slots=True)
class Seen:
    """The events of one case, as a client saw them."""

    events: list[Event] = field(default_factory=list)
    extensions: str | None = None
    closed_first: Literal["client", "server", "nobody"] = "nobody"
    said_goodbye: bool = False
    code: int | None = None
    end: Literal["eof", "reset", "none"] = "none"


def verdict(case: Case, seen: Seen) -> str:
    """The result in the suite's words."""
    problem = _problem(case, seen)
    if problem:
        return f"FAILED: {problem}"
    if case.informational:
        return "INFORMATIONAL"
    if tuple(seen.events) == case.ok:
        return "OK"
    if tuple(seen.events) == case.non_strict:
        return "NON-STRICT"
    return "FAILED: heard " + ", ".join(f"{kind} {payload[:40]!r}" for kind, payload in seen.events[:10])


def _problem(case: Case, seen: Seen) -> str | None:
    ending = case.ending
    if seen.extensions is not None:
        return f"the server agreed to {seen.extensions}"
    if seen.closed_first != ending.by:
        return f"closed by {seen.closed_first}, not by the {ending.by}"
    if seen.code not in ending.codes:
        return f"close code {seen.code}"
    if seen.end == "none":
        return "the server left the connection open"
    if ending.clean and not (seen.said_goodbye and seen.end == "eof"):
        return "the connection did not end cleanly"
    return None
