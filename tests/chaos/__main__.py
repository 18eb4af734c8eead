"""Cause every fault many times and count the messages that were lost: `make chaos`."""

import argparse
import asyncio
import random
import sys
from pathlib import Path

from tests.chaos.faults import FAULTS, Fault
from tests.chaos.rounds import NoFakeTime, Outcome, play, table
from tests.chaos.soak import soak

RESULTS = Path(__file__).parent / "results"


def read_options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make chaos ARGS=", description="Count what faults lose, repeat and disorder."
    )
    parser.add_argument("--rounds", type=int, default=5, help="of each fault (default: 5)")
    parser.add_argument("--rooms", type=int, default=50, help="of three members each (default: 50)")
    parser.add_argument(
        "--rate", type=float, default=100, help="messages a second, in all rooms together (default: 100)"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="to repeat a run; printed with each")
    parser.add_argument("--fault", action="append", metavar="WORDS", help="only faults whose name has these words")
    parser.add_argument(
        "--soak", type=float, metavar="MINUTES", help="instead, faults and churn for so long in one arena"
    )
    options = parser.parse_args(arguments)
    if options.fault and not chosen(options.fault):
        parser.error(f"no fault has these words; there are: {', '.join(fault.name for fault in FAULTS)}")
    return options


def chosen(words: list[str]) -> list[Fault]:
    """Faults whose name has any of these words; all, if there are none."""
    return [fault for fault in FAULTS if not words or any(one.replace("-", " ") in fault.name for one in words)]


async def run(options: argparse.Namespace, faults: list[Fault]) -> list[Outcome]:
    outcomes = []
    for number in range(options.rounds):
        for fault in faults:
            seed = options.seed + number
            try:
                outcome = await play(fault, seed=seed, rooms=options.rooms, rate=options.rate)
            except NoFakeTime as reason:
                print(f"{fault.name}: left out, {reason}")
                continue
            outcomes.append(outcome)
            said = "; ".join(outcome.faults()) or "as promised"
            print(f"seed {seed}  {fault.name}: {outcome.verdict.delivered:,} delivered, {said}", flush=True)
    return outcomes


def main(arguments: list[str]) -> int:
    options = read_options(arguments)
    print(f"seed {options.seed}")
    if options.soak:
        soaked = asyncio.run(soak(options.soak, seed=options.seed, rooms=options.rooms, rate=options.rate))
        print("\n" + soaked.report)
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "soak.md").write_text(soaked.report)
        (RESULTS / "soak.svg").write_text(soaked.picture)
        return int(not soaked.well)
    outcomes = asyncio.run(run(options, chosen(options.fault or [])))
    text = table(outcomes)
    print("\n" + text)
    if not options.fault:
        RESULTS.mkdir(exist_ok=True)
        head = f"{options.rooms} rooms of 3, {options.rate:g} messages a second in all, seed {options.seed}."
        (RESULTS / "faults.md").write_text(f"# Faults, counted\n\n{head}\n\n{text}\n")
    return int(any(outcome.faults() for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
