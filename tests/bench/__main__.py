"""Measure all systems in rounds: `make bench` and `make bench-quick`; README.md explains the results."""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench import install, report
from tests.bench.accounting import open_files
from tests.bench.measure import Pace, calm_sample
from tests.bench.plot import draw
from tests.bench.shapes import QUICK as QUICK_SHAPES
from tests.bench.shapes import Shape, shapes
from tests.bench.systems import QUICK, SYSTEMS, System

COMMITTED = Path(__file__).parent / "results"


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=", description="Measure Relay beside its peers.")
    parser.add_argument("--quick", action="store_true", help="four systems, three shapes, one short round")
    parser.add_argument("--only", action="append", metavar="SYSTEM", choices=[s.key for s in SYSTEMS])
    parser.add_argument("--shape", action="append", metavar="SHAPE", choices=[s.key for s in shapes(open_files())])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="of one measurement")
    parser.add_argument(
        "--plot",
        nargs="+",
        default=[],
        metavar="RESULTS",
        type=Path,
        help="only write the report of earlier results; of several, taken in pieces, one beside the first",
    )
    return parser.parse_args(arguments)


def installed(chosen: Sequence[System]) -> tuple[list[System], dict[str, str]]:
    """The systems that could be installed, and for each of the others the reason."""
    have, left_out = [], {}
    for system in chosen:
        try:
            system.install()
        except install.Missing as reason:
            print(f"bench: without {system.title}: {reason}", flush=True)
            left_out[system.title] = str(reason)
        else:
            have.append(system)
    return have, left_out


def takes_part(system: System, shape: Shape) -> bool:
    return (not system.only or shape.key in system.only) and (not shape.only or system.key in shape.only)


def measure(results: dict[str, Any], systems: Sequence[System], chosen: Sequence[Shape], pace: Pace) -> None:
    """Measure every shape in rounds over all systems, so that other work of the machine affects all of them alike."""
    for shape in chosen:
        for number in range(min(results["rounds"], shape.rounds)):
            for system in systems:
                if not takes_part(system, shape):
                    continue
                figures, failures = calm_sample(system, shape, pace)
                entry = {"system": system.key, "shape": shape.key, "round": number, "figures": figures}
                entry["failures"] = failures
                results["samples"].append(entry)
                print(line(system, shape, number, entry), flush=True)
                (install.BUILD / "results.json").write_text(dumped(results))


def line(system: System, shape: Shape, number: int, entry: dict[str, Any]) -> str:
    """One line about a sample, to show progress."""
    shown = (
        "cpu",
        "deliveries_per_second",
        "rate",
        "p99",
        "load_share",
        "memory",
        "handshakes_per_second",
        "call_cpu",
        "storm_p99",
    )
    figures = entry["figures"]
    said = "  ".join(f"{name} {figures[name]:,.4g}" for name in shown if name in figures)
    return f"{shape.key:12} {number + 1}  {system.key:17} {said or entry['failures'][-1]}"


def dumped(results: dict[str, Any]) -> str:
    return json.dumps(results, indent=1, ensure_ascii=False) + "\n"


def write(results: dict[str, Any], folder: Path) -> None:
    """The raw results, the report, the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(dumped(results))
    (folder / "results.md").write_text(report.markdown(results))
    draw(results, folder)


def begin(options: argparse.Namespace, systems: Sequence[System], chosen: Sequence[Shape]) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": report.machine(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "systems": [
            {
                "key": s.key,
                "title": s.title,
                "version": s.version(),
                "floor": s.floor,
                "redis": s.redis,
                "lacks": s.lacks,
            }
            for s in systems
        ],
        "shapes": [asdict(shape) for shape in chosen],
        "left_out": {},
        "samples": [],
    }


def main(arguments: Sequence[str]) -> int:
    options = read_options(arguments)
    if options.plot:
        write(report.joined([json.loads(path.read_text()) for path in options.plot]), options.plot[0].parent)
        return 0
    if options.quick:
        options.rounds, options.seconds = 1, 1.5
        options.only, options.shape = options.only or QUICK, options.shape or QUICK_SHAPES
    whole = not (options.quick or options.only or options.shape)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    install.BUILD.mkdir(parents=True, exist_ok=True)
    install.need("redis-server")
    install.build_load()
    systems, left_out = installed([s for s in SYSTEMS if not options.only or s.key in options.only])
    chosen = [s for s in shapes(open_files()) if not options.shape or s.key in options.shape]
    results = begin(options, systems, chosen)
    results["left_out"] = left_out
    tries = 1 if options.quick else 2
    pace = Pace(options.seconds, min(2, options.seconds / 2), 2 * options.seconds, tries)
    measure(results, systems, chosen, pace)
    folder = COMMITTED if whole else install.BUILD / "results"
    write(results, folder)
    print("\n" + (folder / "results.md").read_text())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except install.Missing as reason:
        sys.exit(f"bench: {reason}")
    except KeyboardInterrupt:
        sys.exit(130)
