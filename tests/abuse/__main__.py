"""Run every attack and measure its harm to others: `make abuse`."""

import argparse
import asyncio
import io
import sys
import traceback
from contextlib import redirect_stdout
from pathlib import Path

from tests.abuse.attacks import find
from tests.abuse.rounds import NOTHING, Plan, play
from tests.abuse.table import RESULTS, RUNS, compare, line, load, save
from tests.abuse.verdict import harms


def read_options(arguments: list[str]) -> argparse.Namespace:
    known = [NOTHING, *find()]
    parser = argparse.ArgumentParser(
        prog="make abuse ARGS=", description="Measure the harm of attacks to other clients."
    )
    parser.add_argument("--attack", action="append", choices=known, help="only this one (default: all)")
    parser.add_argument("--seconds", type=float, default=60, help="for which each goes on (default: 60)")
    parser.add_argument("--rooms", type=int, default=25, help="uninvolved rooms of two (default: 25)")
    parser.add_argument("--tree", type=Path, help="the folder of another version of the relay, with its .venv")
    parser.add_argument("--save", choices=RUNS, help="keep the figures (default: after, if all attacks are run)")
    options = parser.parse_args(arguments)
    options.save = options.save or ("after" if not options.attack and options.tree is None else None)
    options.attack = options.attack or known
    options.tree = options.tree and options.tree.resolve()
    return options


def main(arguments: list[str]) -> int:
    options = read_options(arguments)
    plan = Plan(options.seconds, options.rooms, options.tree)
    attacks = find()
    harmful = False
    for name in options.attack:
        # The workers' logs, which a failed test shows.
        logs = io.StringIO()
        try:
            with redirect_stdout(logs):
                figures = asyncio.run(play(attacks.get(name), plan))
        except Exception:
            print(logs.getvalue())
            traceback.print_exc()
            harmful = True
            continue
        harmful |= bool(harms(figures))
        print(line(figures), flush=True)
        if options.save:
            save(options.save, [figures])
    if options.save:
        text = "\n".join(compare(load("before"), load("after")))
        (RESULTS / "attacks.md").write_text(f"# Attacks, measured\n\n{text}\n")
    return int(harmful)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
