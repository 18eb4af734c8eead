"""One round: rooms full of members that send, one fault, and the count."""

import asyncio
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

from relay.awake import AwakeTime
from tests.chaos.arena import SETTINGS, arena
from tests.chaos.calls import Calls
from tests.chaos.crowd import Crowd
from tests.chaos.faults import Fault
from tests.chaos.guests import Guests
from tests.chaos.ledger import Verdict

WHOLE_WITHIN = 2.0
"""Seconds from the end of a fault within which delivery must be correct again."""
AGAIN_WITHIN = 2.0
"""Seconds before a loss of which clients without a cursor may get messages again; the relay states 1.2 s."""
PATIENCE = 10.0
"""Additional seconds, after which wrong presence counts as permanent."""


def presence_within(settings: Mapping[str, Any] = MappingProxyType({})) -> float:
    """Seconds from the end of a fault within which presence must be correct again, with these settings of workers."""
    both = {**SETTINGS, **settings}
    return max(both["worker_lease"], both["reconnect_grace"]) + 1


_LISTED = 3
_EVERY = 0.2
_LIBRARY = "faketime/libfaketime.so.1"


class NoFakeTime(Exception):
    """The library that fakes time is not installed."""


@dataclass(frozen=True)
class Presence:
    """How presence became correct after a fault.

    `exact_after` are the seconds until it was exact and stayed so (None: never), `wrong` says what was wrong at the
    end. `ghosts` were listed when the stated bound was over, `lasting_ghosts` also at the end: room and peer id.
    """

    exact_after: float | None
    wrong: list[str]
    ghosts: set[tuple[str, str]]
    lasting_ghosts: set[tuple[str, str]]


@dataclass(frozen=True)
class Outcome:
    """The result of a round: the count of messages, and how presence became correct.

    `false_leaves` are leave events about members that had not left. `needlessly_told` are members that were told of a
    loss although the fault does not excuse one. `unproven` are effects that the fault should have had but did not have.
    `locked_out` members were refused or closed although they were the only ones of their name. `lag` is the longest
    time (s) for which the machine was too busy to run the clients. `examples` are messages that were repeated or out of
    order. `intruders` are strangers that came into locked rooms. `calls` counts for pages of RTCMultiConnection.
    """

    fault: Fault
    seed: int
    verdict: Verdict
    presence: Presence
    false_leaves: list[str]
    needlessly_told: set[tuple[str, str]]
    missing: list[tuple[str, str, int, str]]
    unproven: list[str]
    locked_out: list[str]
    lag: float
    examples: list[str] = field(default_factory=list)
    intruders: list[str] = field(default_factory=list)
    calls: Calls | None = None

    @classmethod
    def of(
        cls,
        fault: Fault,
        seed: int,
        crowd: Crowd,
        presence: Presence,
        *,
        lag: float = 0.0,
        calls: Calls | None = None,
    ) -> Self:
        """Count the crowd's messages."""
        return cls(
            fault, seed, crowd.verdict(crowd.ended), presence, list(crowd.false_leaves),
            crowd.ledger.members_told - crowd.excused, crowd.ledger.missing(), list(crowd.unproven),
            list(crowd.locked_out), lag, crowd.ledger.repeats[:2] + crowd.ledger.disorder[:2], list(crowd.intruders),
            calls,
        )  # fmt: skip

    def faults(self, *, in_time: bool = True) -> list[str]:
        """The broken promises as text; where losses are unavoidable, telling members of them is correct.

        Without `in_time`, recovery may take any time: for machines that are busy with other work.
        """
        verdict = self.verdict
        ghosts = self.presence.ghosts if in_time else self.presence.lasting_ghosts
        wrong = {
            f"{verdict.lost} lost": verdict.lost,
            f"{verdict.lost_acknowledged} lost that were acknowledged": self.fault.durable
            and verdict.lost_acknowledged,
            f"{verdict.silent} lost in silence, such as {self.missing[:3]}": verdict.silent,
            f"{len(ghosts)} ghosts, such as {sorted(ghosts)[:3]}": len(ghosts),
            f"{len(self.locked_out)} locked out, such as {self.locked_out[:3]}": len(self.locked_out),
            f"{len(self.intruders)} came into locked rooms, such as {self.intruders[:3]}": len(self.intruders),
            f"{verdict.repeated} repeated, such as {self.examples[:2]}": verdict.repeated,
            f"{verdict.disordered} out of order, such as {self.examples[-2:]}": verdict.disordered,
            f"{verdict.sent - verdict.acknowledged} not acknowledged": verdict.sent - verdict.acknowledged,
            f"{len(self.needlessly_told)} members were told of losses": len(self.needlessly_told),
            f"presence stayed wrong: {self.presence.wrong[:3]}": self.presence.exact_after is None,
            f"{len(self.false_leaves)} false leaves, such as {self.false_leaves[:3]}": len(self.false_leaves),
            f"it did not strike: {self.unproven}": len(self.unproven),
        }
        if in_time:
            wrong[f"messages of {verdict.oldest_again:.1f} s before a loss came again"] = (
                verdict.oldest_again > AGAIN_WITHIN
            )
            late = verdict.whole_after > WHOLE_WITHIN + self.fault.pauses
            wrong[f"whole again after {verdict.whole_after:.1f} s"] = late
            exact_after = self.presence.exact_after or 0
            late = exact_after > presence_within(self.fault.settings) + self.fault.pauses
            wrong[f"presence exact after {exact_after:.1f} s"] = late
        return [text for text, count in wrong.items() if count] + (self.calls.faults() if self.calls else [])


async def play(fault: Fault, *, seed: int, rooms: int, rate: float) -> Outcome:
    """Run one round in an arena of its own."""
    with fake_time(fault) as environment:
        async with (
            Lag() as lag,
            arena(
                seed=seed,
                rooms=rooms,
                fake_time=environment,
                settings=fault.settings,
                kinds=fault.kinds,
                slow=fault.slow,
                replicas=fault.replicas,
                masters=fault.masters,
            ) as field,
            Guests(field, number=max(6, rooms // 5)) as guests,
        ):
            field.talk(rate)
            await asyncio.sleep(0.5 + field.draw.random())
            guests.go()
            await fault.strike(field)
            # Guests may be lost after the fault, and these are held for the grace time, too.
            presence = await presence_after(
                field, max(field.ended, guests.gone), guests, within=presence_within(fault.settings)
            )
            await field.hush()
            calls = await Calls.count(field.members)
            return Outcome.of(fault, seed, field, presence, lag=lag.longest, calls=calls)


class Lag:
    """Watches for how long at most this process does not get to run its tasks."""

    _EVERY = 0.05

    def __init__(self) -> None:
        self.longest = 0.0

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watching.cancel()

    async def _watch(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            await asyncio.sleep(self._EVERY)
            self.longest = max(self.longest, clock() - began - self._EVERY)


async def presence_after(field: Crowd, ended: float, guests: Guests | None = None, *, within: float) -> Presence:
    """Watch presence from the end of a fault on, for the whole time allowed (`within`).

    Presence that is exact early may become wrong again. After that time ghosts are counted, and wrong presence gets
    `PATIENCE` to become exact. Time in which the machine is too busy to run this process does not count: workers and
    clients do not get on then either.
    """
    awake = AwakeTime()
    awake.open()
    try:
        return await _presence_after(field, asyncio.get_running_loop().time() - ended, guests, awake, within)
    finally:
        awake.close()


async def _presence_after(
    field: Crowd, before: float, guests: Guests | None, awake: AwakeTime, within: float
) -> Presence:
    ended = awake.now - before
    exact: float | None = None
    ghosts: set[tuple[str, str]] | None = None
    while True:
        now = awake.now
        wrong = field.disagreements() + (guests.unfinished() if guests else [])
        wrong = wrong or await field.disagreeing_lists(guests.rooms[:_LISTED] if guests else list(field.expected)[:1])
        exact = None if wrong else now if exact is None else exact
        if now >= ended + within and ghosts is None:
            ghosts = await field.ghosts()
        if now >= ended + (within if exact is not None else within + PATIENCE):
            after = max(0.0, exact - ended) if exact is not None else None
            return Presence(after, wrong, ghosts or set(), await field.ghosts() if ghosts else set())
        await asyncio.sleep(_EVERY)


@contextmanager
def fake_time(fault: Fault) -> Iterator[dict[str, str]]:
    """The environment of a process whose clock a file controls, if the fault needs that; otherwise empty."""
    if not fault.fakes_time:
        yield {}
        return
    library = next(Path("/usr/lib").glob(f"*/{_LIBRARY}"), None)
    if library is None:
        raise NoFakeTime("libfaketime is not installed: apt-get install faketime")
    with tempfile.TemporaryDirectory(prefix="relay-time-") as folder:
        file = Path(folder) / "offset"
        file.write_text("+0")
        yield {
            "LD_PRELOAD": str(library),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_TIMESTAMP_FILE": str(file),
        }


COLUMNS: Final[dict[str, Callable[[Outcome], int]]] = {
    "sent": lambda one: one.verdict.sent,
    "delivered": lambda one: one.verdict.delivered,
    "lost": lambda one: one.verdict.lost,
    "repeated": lambda one: one.verdict.repeated,
    "out of order": lambda one: one.verdict.disordered,
    "silent": lambda one: one.verdict.silent,
    "told of a loss": lambda one: one.verdict.told,
    "told needlessly": lambda one: len(one.needlessly_told),
    "ghosts": lambda one: len(one.presence.ghosts),
    "false leaves": lambda one: len(one.false_leaves),
    "locked out": lambda one: len(one.locked_out),
}
"""The counts of a round, each by the name of its column."""


def table(outcomes: Iterable[Outcome]) -> str:
    """The sums over all rounds of each fault, as a Markdown table."""
    head = ("Fault", "rounds", *COLUMNS, "whole again after, s", "presence exact after, s")
    by_fault: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_fault.setdefault(outcome.fault.name, []).append(outcome)
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for fault, rounds in by_fault.items():
        sums = [sum(count(outcome) for outcome in rounds) for count in COLUMNS.values()]
        presences = [outcome.presence.exact_after for outcome in rounds]
        exact = "never" if None in presences else f"{max(p for p in presences if p is not None):.1f}"
        whole = f"{max(outcome.verdict.whole_after for outcome in rounds):.1f}"
        lines.append("| " + " | ".join([fault, str(len(rounds)), *(f"{one:,}" for one in sums), whole, exact]) + " |")
    return "\n".join(lines)
