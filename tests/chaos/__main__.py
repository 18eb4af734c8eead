"""Cause every fault many times and count the losses: `make chaos`."""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from tests.chaos.calls import calls_table
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.rounds import table
from tests.chaos.side_by_side import Plan, as_json, run
from tests.chaos.soak import soak

RESULTS = Path(__file__).parent / "results"


def read_options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make chaos ARGS=", description="Count the messages that faults lose, repeat and disorder."
    )
    parser.add_argument("--rounds", type=int, help="in all, each fault as often as the others (default: 5 of each)")
    parser.add_argument("--rooms", type=int, default=12, help="of three members each (default: 12)")
    parser.add_argument("--rate", type=float, default=40, help="messages a second, in all rooms together (default: 40)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="to repeat a run; printed with each")
    parser.add_argument(
        "--jobs", type=int, default=2 * (os.cpu_count() or 1), help="rounds at a time (default: 2 a core)"
    )
    parser.add_argument("--fault", action="append", metavar="WORDS", help="only faults whose name has these words")
    parser.add_argument("--record", metavar="NAME", help="with --fault: write results/NAME.md and results/NAME.json")
    parser.add_argument(
        "--soak", type=float, metavar="MINUTES", help="instead, faults and churn for so long in one arena"
    )
    parser.add_argument("--cluster", action="store_true", help="with --soak: Redis is a cluster of three masters")
    options = parser.parse_args(arguments)
    options.faults = chosen(options.fault or [])
    if not options.faults:
        parser.error(f"no fault has these words; there are: {', '.join(fault.name for fault in FAULTS)}")
    options.rounds = options.rounds or 5 * len(options.faults)
    return options


def chosen(words: list[str]) -> list[Fault]:
    """Faults whose name has any of these words; all, if there are none."""
    return [fault for fault in FAULTS if not words or any(one.replace("-", " ") in fault.name for one in words)]


def main(arguments: list[str]) -> int:
    options = read_options(arguments)
    # The processes of the rounds end with this one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"seed {options.seed}")
    if options.soak:
        soaked = asyncio.run(
            soak(options.soak, seed=options.seed, rooms=options.rooms, rate=options.rate, cluster=options.cluster)
        )
        print("\n" + soaked.report)
        RESULTS.mkdir(exist_ok=True)
        name = "soak-cluster" if options.cluster else "soak"
        (RESULTS / f"{name}.md").write_text(soaked.report.replace("soak.svg", f"{name}.svg"))
        (RESULTS / f"{name}.svg").write_text(soaked.picture)
        return int(not soaked.well)
    began = time.monotonic()
    outcomes = list(run(Plan(options.faults, options.rounds, options.seed, options.rooms, options.rate), options.jobs))
    outcomes.sort(key=lambda one: FAULTS.index(one.fault))
    tables = table(outcomes), calls_table((one.fault.name, one.calls) for one in outcomes if one.calls)
    text = "\n\n".join(filter(None, tables))
    minutes = (time.monotonic() - began) / 60
    print(f"\n{text}\n\n{len(outcomes)} rounds in {minutes:.1f} minutes")
    name = "faults" if not options.fault else options.record
    if name:
        RESULTS.mkdir(exist_ok=True)
        head = (
            f"{len(outcomes)} rounds, {options.jobs} at a time, in {minutes:.0f} minutes; in each {options.rooms} "
            f"rooms of 3, {options.rate:g} messages a second in all; seeds {options.seed} to "
            f"{options.seed + options.rounds - 1}."
        )
        (RESULTS / f"{name}.md").write_text(f"# Faults, counted\n\n{head}\n\n{text}\n")
        (RESULTS / f"{name}.json").write_text(json.dumps(as_json(outcomes), indent=1) + "\n")
    return int(len(outcomes) < options.rounds or any(outcome.faults() for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
