"""Stamps: when the request of a client's attempt arrived, on the clock that all workers share.

A worker only estimates that clock, so a stamp is an interval. As text it is `@EARLIEST+WIDTH`, in microseconds. In a
presence entry, the stamp of the attempt that has it follows the previous fingerprint; `!` after the stamp marks that
this attempt was the first member of its room. The scripts read the same text; see shared.lua.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Self

_TEXT: Final = re.compile(r"@(\d{1,16})\+(\d{1,16})!?")

StampOf = Callable[[str, float], str]
"""Returns the stamp of a request about a room that arrived at this time on the worker's clock (`time.monotonic`)."""

FIRST: Final = "!"
"""Follows the stamp of an attempt that was the first member of its room."""


class Order(Enum):
    """How an attempt stands to an earlier one: its request arrived later, earlier, or that cannot be decided."""

    NEWER = auto()
    OLDER = auto()
    UNCLEAR = auto()


@dataclass(frozen=True, slots=True)
class Stamp:
    """The request arrived between these two times (microseconds)."""

    earliest: int
    latest: int

    def __str__(self) -> str:
        return f"@{self.earliest}+{self.latest - self.earliest}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a stamp; None if the text is none, as in an entry of an earlier version."""
        match = _TEXT.fullmatch(text)
        return cls(int(match[1]), int(match[1]) + int(match[2])) if match else None

    @classmethod
    def exact(cls, seconds: float) -> Self:
        """Return the stamp of a time that is known exactly."""
        return cls(round(seconds * 1_000_000), round(seconds * 1_000_000))


def split_previous(previous: str) -> tuple[str, str, bool]:
    """Take the previous key of an entry apart: its fingerprint, the stamp, and whether the attempt was first."""
    fingerprint, at, stamp = previous.partition("@")
    return fingerprint, (at + stamp).removesuffix(FIRST), stamp.endswith(FIRST)


def join_previous(fingerprint: str, stamp: str, *, first: bool) -> str:
    """Undo `split_previous`; without a fingerprint, there is nothing to order, and the result is ""."""
    return f"{fingerprint}{stamp}{FIRST if first and stamp else ''}" if fingerprint else ""


def order(attempt: Stamp | None, before: Stamp | None, now: int, *, same_worker: bool) -> Order:
    """Return how an attempt stands to the one that has the entry; `now` is the time on the shared clock (microseconds).

    A stamp of the entry that is still to come counts for nothing: the clock was set back. So does a missing one, which
    an earlier version has written. One worker knows the order of its own attempts, however wide their stamps are.
    """
    if attempt is None or before is None or before.earliest > now:
        return Order.NEWER
    if attempt.earliest > now:
        # The worker had not noticed yet that the clock was set back, as by a master that has taken the part of another:
        # its attempt may be of any time.
        return Order.UNCLEAR
    if same_worker:
        return Order.NEWER if attempt.earliest >= before.earliest else Order.OLDER
    if attempt.earliest > before.latest:
        return Order.NEWER
    return Order.OLDER if attempt.latest < before.earliest else Order.UNCLEAR
