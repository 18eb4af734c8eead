"""One round: rooms full of members that send, one fault, and the count."""

import asyncio
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.arena import LONGER, arena
from tests.chaos.crowd import Crowd
from tests.chaos.faults import Fault
from tests.chaos.guests import Guests
from tests.chaos.ledger import Verdict

WHOLE_WITHIN, PRESENCE_WITHIN = 2.0, LONGER + 1
"""Seconds from the end of a fault within which delivery and presence must be correct again."""
PATIENCE = 10.0
"""Additional seconds, after which wrong presence counts as permanent."""
_LISTED = 3
_LIBRARY = "faketime/libfaketime.so.1"


class NoFakeTime(Exception):
    """The library that fakes time is not installed."""


@dataclass(frozen=True)
class Outcome:
    """The result of a round: the count, and the seconds until presence was exact and stayed so (None: never).

    `false_leaves` are leave events about members that had not left. `needlessly_told` are members that were told of a
    loss although the fault does not excuse one. `unproven` are effects that the fault should have had but did not have.
    """

    fault: Fault
    seed: int
    verdict: Verdict
    presence_after: float | None
    wrong_presence: list[str]
    false_leaves: list[str]
    needlessly_told: set[tuple[str, str]]
    missing: list[tuple[str, str, int, str]]
    unproven: list[str]

    def faults(self, *, in_time: bool = True) -> list[str]:
        """The broken promises as text; where losses are unavoidable, telling members of them is correct.

        A Redis that lost its data gets presence back from one worker after the other; meanwhile, members of the others
        seem to have left. Without `in_time`, recovery may take any time: for machines that are busy with other work.
        """
        verdict = self.verdict
        wrong = {
            f"{verdict.lost} lost in silence, such as {self.missing[:3]}": verdict.lost,
            f"{verdict.repeated} repeated": verdict.repeated,
            f"{verdict.disordered} out of order": verdict.disordered,
            f"{verdict.sent - verdict.acknowledged} not acknowledged": verdict.sent - verdict.acknowledged,
            f"{len(self.needlessly_told)} members were told of losses": len(self.needlessly_told),
            f"presence stayed wrong: {self.wrong_presence[:3]}": self.presence_after is None,
            f"{len(self.false_leaves)} false leaves, such as {self.false_leaves[:3]}": 0
            if self.fault.forgets
            else len(self.false_leaves),
            f"it did not strike: {self.unproven}": len(self.unproven),
        }
        if in_time:
            wrong[f"whole again after {verdict.whole_after:.1f} s"] = verdict.whole_after > WHOLE_WITHIN
            wrong[f"presence exact after {self.presence_after or 0:.1f} s"] = (
                self.presence_after or 0
            ) > PRESENCE_WITHIN
        return [text for text, count in wrong.items() if count]


async def play(fault: Fault, *, seed: int, rooms: int, rate: float) -> Outcome:
    """Run one round in an arena of its own."""
    with fake_time(fault) as environment:
        async with (
            arena(seed=seed, rooms=rooms, fake_time=environment) as field,
            Guests(field, number=max(6, rooms // 5)) as guests,
        ):
            field.talk(rate)
            await asyncio.sleep(0.5 + field.draw.random())
            guests.go()
            await fault.strike(field)
            # Guests may be lost after the fault, and these are held for the grace time, too.
            presence, wrong = await presence_after(field, max(field.ended, guests.gone), guests)
            await field.hush()
            return Outcome(
                fault, seed, field.verdict(field.ended), presence, wrong, list(field.false_leaves),
                field.ledger.members_told - field.excused, field.ledger.missing(), list(field.unproven),
            )  # fmt: skip


async def presence_after(
    field: Crowd, ended: float, guests: Guests | None = None, *, within: float = PRESENCE_WITHIN
) -> tuple[float | None, list[str]]:
    """Seconds from the end of the fault until presence was exact, and what was wrong at the end.

    It is watched for the whole time allowed: presence that is exact early may become wrong again.
    """
    loop = asyncio.get_running_loop()
    exact: float | None = None
    while True:
        now = loop.time()
        wrong = field.disagreements() + (guests.unfinished() if guests else [])
        wrong = wrong or await field.disagreeing_lists(guests.rooms[:_LISTED] if guests else list(field.expected)[:1])
        exact = None if wrong else now if exact is None else exact
        if now >= ended + (within if exact else within + PATIENCE):
            return (max(0.0, exact - ended) if exact else None), wrong
        await asyncio.sleep(0.1)


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


def table(outcomes: Iterable[Outcome]) -> str:
    """The sums over all rounds of each fault, as a Markdown table."""
    head = ("Fault", "rounds", "sent", "delivered", "lost", "repeated", "out of order", "told of a loss",
            "false leaves", "whole again after, s", "presence exact after, s")  # fmt: skip
    by_fault: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_fault.setdefault(outcome.fault.name, []).append(outcome)
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for fault, rounds in by_fault.items():
        verdicts = [outcome.verdict for outcome in rounds]
        sums = [
            sum(getattr(verdict, name) for verdict in verdicts)
            for name in ("sent", "delivered", "lost", "repeated", "disordered", "told")
        ]
        sums.append(sum(len(outcome.false_leaves) for outcome in rounds))
        presences = [outcome.presence_after for outcome in rounds]
        exact = "never" if None in presences else f"{max(p for p in presences if p is not None):.1f}"
        whole = f"{max(verdict.whole_after for verdict in verdicts):.1f}"
        lines.append("| " + " | ".join([fault, str(len(rounds)), *(f"{one:,}" for one in sums), whole, exact]) + " |")
    return "\n".join(lines)
