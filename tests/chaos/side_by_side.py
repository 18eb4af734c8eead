"""Many rounds, several at a time, and their counts."""

import asyncio
import contextlib
import io
import multiprocessing
import re
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.chaos.fault import Fault
from tests.chaos.rounds import COLUMNS, NoFakeTime, Outcome, play

LOGS = Path("build/chaos")
BUSY = 0.3
"""Seconds of lag beyond which a round says little about times."""


@dataclass(frozen=True)
class Plan:
    """`count` rounds in all: each of the faults as often as the others, and each round with a seed of its own."""

    faults: Sequence[Fault]
    count: int
    seed: int
    rooms: int
    rate: float

    @property
    def rounds(self) -> list[tuple[Fault, int]]:
        """Fault and seed of each round."""
        return [(self.faults[number % len(self.faults)], self.seed + number) for number in range(self.count)]


def play_one(fault: Fault, seed: int, rooms: int, rate: float) -> Outcome | str:
    """Play a round in this process; return why there is no outcome, if there is none.

    The logs of the workers of a round that was not as promised are kept in LOGS.
    """
    logs = io.StringIO()
    try:
        with contextlib.redirect_stdout(logs):
            outcome = asyncio.run(play(fault, seed=seed, rooms=rooms, rate=rate))
    except NoFakeTime as reason:
        return f"left out: {reason}"
    except Exception:  # one round must not end the others
        _keep(logs, fault, seed, traceback.format_exc())
        return f"failed: {traceback.format_exc(limit=-1).splitlines()[-1]}"
    if outcome.faults():
        _keep(logs, fault, seed, repr(outcome))
    return outcome


def _keep(logs: io.StringIO, fault: Fault, seed: int, report: str) -> None:
    LOGS.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", f"{seed}-{fault.name}")
    (LOGS / f"{name}.txt").write_text(f"{report}\n\n{logs.getvalue()}")


def run(plan: Plan, jobs: int) -> Iterator[Outcome]:
    """Play `jobs` rounds at a time, each with its own Redis, workers and ports, in a process of its own.

    A caller that stops early waits for the rounds that have begun, and no others begin.
    """
    rounds = plan.rounds
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool, contextlib.ExitStack() as at_end:
        at_end.callback(pool.shutdown, wait=False, cancel_futures=True)
        waiting = {pool.submit(play_one, fault, seed, plan.rooms, plan.rate): (fault, seed) for fault, seed in rounds}
        for number, done in enumerate(as_completed(waiting), 1):
            fault, seed = waiting[done]
            outcome = done.result()
            said = outcome if isinstance(outcome, str) else "; ".join(outcome.faults()) or "as promised"
            lag = "" if isinstance(outcome, str) or outcome.lag < BUSY else f" (busy: {outcome.lag:.1f} s)"
            print(f"{number}/{len(rounds)}  seed {seed}  {fault.name}: {said}{lag}", flush=True)
            if isinstance(outcome, Outcome):
                yield outcome


def as_json(outcomes: list[Outcome]) -> list[dict[str, object]]:
    """All rounds with their counts."""
    return [
        {
            "fault": one.fault.name,
            "seed": one.seed,
            **{name: count(one) for name, count in COLUMNS.items()},
            "acknowledged": one.verdict.acknowledged,
            "sent again in a new epoch": one.verdict.across,
            "again after a loss": one.verdict.again,
            "oldest of these": round(one.verdict.oldest_again, 2),
            "whole again after": round(one.verdict.whole_after, 2),
            "presence exact after": None if one.presence.exact_after is None else round(one.presence.exact_after, 2),
            "lag": round(one.lag, 2),
            **({"calls": asdict(one.calls)} if one.calls else {}),
            "broken": one.faults(),
        }
        for one in sorted(outcomes, key=lambda one: one.seed)
    ]
