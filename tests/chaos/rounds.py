"""One round: rooms that talk, a fault, and the count."""

import asyncio
import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.arena import LONGER, Arena, arena
from tests.chaos.faults import Fault
from tests.chaos.ledger import Verdict
from tests.fleet import eventually

_AFTERWARDS = 2.0
_LIBRARY = "faketime/libfaketime.so.1"


class NoFakeTime(Exception):
    """The library that fakes time is not installed."""


@dataclass(frozen=True)
class Outcome:
    """What a fault did: the count, and after how many seconds presence was exact (None: not in time)."""

    fault: str
    seed: int
    verdict: Verdict
    presence_after: float | None
    missing: list[tuple[str, str, int, str]]

    def faults(self, *, may_lose: bool) -> list[str]:
        """What went against the promises, in words; where losses cannot be helped, they may be told."""
        verdict = self.verdict
        wrong = {
            f"{verdict.lost} lost in silence, such as {self.missing[:3]}": verdict.lost,
            f"{verdict.repeated} repeated": verdict.repeated,
            f"{verdict.disordered} out of order": verdict.disordered,
            f"{verdict.sent - verdict.acknowledged} not acknowledged": verdict.sent - verdict.acknowledged,
            f"{verdict.told} members were told of losses": 0 if may_lose else verdict.told,
            "presence was not exact in time": self.presence_after is None,
        }
        return [text for text, count in wrong.items() if count]


async def play(fault: Fault, *, seed: int, rooms: int, rate: float) -> Outcome:
    """Play one round, in an arena of its own."""
    loop = asyncio.get_running_loop()
    with fake_time(fault) as environment:
        async with arena(seed=seed, rooms=rooms, fake_time=environment) as field:
            field.talk(rate)
            await asyncio.sleep(0.5 + field.draw.random())
            await fault.strike(field)
            ended = loop.time()
            presence = await presence_after(field, ended)
            await asyncio.sleep(max(0.0, ended + _AFTERWARDS - loop.time()))
            await field.hush()
            return Outcome(fault.name, seed, field.verdict(ended), presence, field.ledger.missing())


async def presence_after(field: Arena, ended: float) -> float | None:
    """Seconds from the end of the fault until presence was seen to be exact; None if that took too long."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(TimeoutError):
        await eventually(field.presence_agrees, ended + LONGER + 1 - loop.time())
        return loop.time() - ended
    return None


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
            "whole again after, s", "presence exact after, s")  # fmt: skip
    by_fault: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_fault.setdefault(outcome.fault, []).append(outcome)
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for fault, rounds in by_fault.items():
        verdicts = [outcome.verdict for outcome in rounds]
        sums = [
            sum(getattr(verdict, name) for verdict in verdicts)
            for name in ("sent", "delivered", "lost", "repeated", "disordered", "told")
        ]
        presences = [outcome.presence_after for outcome in rounds]
        exact = "not in time" if None in presences else f"{max(p for p in presences if p is not None):.1f}"
        whole = f"{max(verdict.whole_after for verdict in verdicts):.1f}"
        lines.append("| " + " | ".join([fault, str(len(rounds)), *(f"{one:,}" for one in sums), whole, exact]) + " |")
    return "\n".join(lines)
