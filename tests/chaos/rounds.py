"""One round: rooms that talk, a fault, and the count."""

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
"""Seconds from the end of a fault within which all is to be well."""
PATIENCE = 10.0
"""Seconds more, after which presence is taken to be wrong for good."""
_LISTED = 3
_LIBRARY = "faketime/libfaketime.so.1"


class NoFakeTime(Exception):
    """The library that fakes time is not installed."""


@dataclass(frozen=True)
class Outcome:
    """What a fault did: the count, and after how many seconds presence was exact and stayed so (None: it was not).

    Of members who had not left, `false_leaves` were told; `needlessly_told` are those who were told of a loss that the
    fault is no excuse for; `unproven` is what the fault should have done and did not.
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
        """What went against the promises, in words; where losses cannot be helped, they may be told.

        A Redis that forgets who was where is told by each worker in its turn, and meanwhile others seem to have left.
        Without `in_time` it only has to come right: for machines that have other things to do as well.
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
    """Play one round, in an arena of its own."""
    with fake_time(fault) as environment:
        async with (
            arena(seed=seed, rooms=rooms, fake_time=environment) as field,
            Guests(field, number=max(6, rooms // 5)) as guests,
        ):
            field.talk(rate)
            await asyncio.sleep(0.5 + field.draw.random())
            guests.go()
            await fault.strike(field)
            # Guests may be lost after the fault; they, too, are held for the grace time.
            presence, wrong = await presence_after(field, max(field.ended, guests.gone), guests)
            await field.hush()
            return Outcome(
                fault, seed, field.verdict(field.ended), presence, wrong, list(field.false_leaves),
                field.ledger.members_told - field.excused, field.ledger.missing(), list(field.unproven),
            )  # fmt: skip


async def presence_after(
    field: Crowd, ended: float, guests: Guests | None = None, *, within: float = PRESENCE_WITHIN
) -> tuple[float | None, list[str]]:
    """Seconds from the end of the fault until presence was exact, and what was still wrong in the end.

    It is watched for as long as it may take, since what is right too soon may yet turn wrong.
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
    """The environment in which a process believes what a file says of the time, if the fault wants that."""
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
    """All rounds of each fault, summed up, as Markdown."""
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
