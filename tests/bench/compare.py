"""Compare the speed of this checkout with that of another one: `make bench-compare BASE=...`.

Both are pure Python; with `--compiled`, this one is the compiled build. Both are measured in pairs, one right after the
other, and the order changes from pair to pair, so that other work of the machine affects both alike. The result is the
median of the ratios of the pairs, new to old, with its 95 % confidence interval. The comparison fails when an interval
lies above the bound as a whole: then this checkout is slower (or larger), and not just the machine noisy. `--target`
also judges the CPU time of a delivery in rooms of two: the median of its ratios is to be at most that.
"""

import argparse
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from tests.bench import install
from tests.bench.measure import Pace, sample
from tests.bench.run import Broken
from tests.bench.shapes import Shape, flood
from tests.bench.systems import SYSTEMS, Place, System

BOUND = 1.03
RESAMPLES = 10_000
TRIES = 3
COMPILED = install.ROOT / "build" / "compiled" / "checkout"
IDLE_ROOMS = 1000
DELIVERY = "50 × 2: CPU, µs a delivery"

_PYTHON = re.compile(r"^Python, .*: +([\d.]+) µs", re.MULTILINE)
_REDIS = re.compile(r"^ +([\d.]+) +[\d.]+ +\S", re.MULTILINE)

_COMMAND = """
import json, sys
from pathlib import Path
from tests.bench.systems import SYSTEMS, Place
key, port, redis, folder = sys.argv[1:]
systems = {system.key: system for system in SYSTEMS}
relay = systems.get(key) or systems["relay"]
print(json.dumps(relay.command(Place(int(port), int(redis), Path(folder)))))
"""


class Failed(Exception):
    """The comparison cannot be made; the text says why."""


@dataclass(frozen=True)
class Tree:
    """A checkout with a virtual environment of its own.

    `key` is the row of its benchmark that is measured; in older ones, every row is pure Python.
    """

    name: str
    folder: Path
    key: str = "relay-pure"

    @property
    def python(self) -> Path:
        return self.folder / ".venv" / "bin" / "python"

    def run(self, *arguments: str) -> str:
        """Run Python in this checkout; returns its output."""
        command = [str(self.python), *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"{self.name}: {' '.join(arguments[:2])} failed:\n{done.stderr[-2000:]}")
        return done.stdout

    def system(self) -> System:
        """Its relay, started as its own benchmark starts it: names of settings may differ between checkouts."""

        def command(place: Place) -> list[str]:
            printed = self.run("-c", _COMMAND, self.key, str(place.port), str(place.redis), str(place.folder))
            return [str(word) for word in json.loads(printed)]

        return replace(next(system for system in SYSTEMS if system.key == "relay"), command=command)


Figures = Mapping[str, float]
Measure = Callable[[Tree], Figures]


def parts(tree: Tree) -> Figures:
    """Microseconds of Python and of Redis for one message."""
    return read_parts(tree.run("-m", "tests.bench.parts"))


def read_parts(text: str) -> Figures:
    """The figures in the output of `make bench-parts`: the first two lines about Redis are the relay's own script."""
    python, redis = _PYTHON.search(text), _REDIS.findall(text.partition("Redis, ")[2])
    if python is None or len(redis) < 2:
        raise Failed(f"cannot read the output of tests.bench.parts:\n{text}")
    return {
        "Python, µs a message": float(python[1]),
        "Redis, µs a message": float(redis[0]),
        "Redis with history, µs a message": float(redis[1]),
    }


def whole(tree: Tree) -> Figures:
    """CPU time of the relay and of Redis for one delivery in 50 rooms of two."""
    figures = tried(tree, flood("50x2", "50 rooms × 2", 50, 2), Pace())
    return {DELIVERY: figures["cpu"]}


def idle(tree: Tree) -> Figures:
    """Memory of one connection that does nothing."""
    figures = tried(tree, Shape("idle", "idle", "idle", IDLE_ROOMS, 2), Pace(idle=1))
    return {"idle: bytes a connection": figures["memory"]}


def tried(tree: Tree, shape: Shape, pace: Pace) -> Figures:
    """One sample; a run that breaks is repeated."""
    for left in reversed(range(TRIES)):
        try:
            return sample(tree.system(), shape, pace)
        except Broken as reason:
            if not left:
                raise Failed(f"{tree.name}: {reason}") from reason
    raise AssertionError


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the median, by bootstrap; the same for the same ratios."""
    draw = random.Random(0)
    medians = sorted(median(draw.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return medians[int(0.025 * RESAMPLES)], medians[int(0.975 * RESAMPLES) - 1]


def compared(measure: Measure, old: Tree, new: Tree, pairs: int) -> dict[str, list[tuple[float, float]]]:
    """The figures of all pairs, old and new, by name."""
    found: dict[str, list[tuple[float, float]]] = {}
    for number in range(pairs):
        order = (old, new) if number % 2 else (new, old)
        figures = {tree.name: measure(tree) for tree in order}
        for name, value in figures[old.name].items():
            found.setdefault(name, []).append((value, figures[new.name][name]))
        said = "  ".join(
            f"{name} {value:.4g} → {figures[new.name][name]:.4g}" for name, value in figures["old"].items()
        )
        print(f"  pair {number + 1}: {said}", flush=True)
    return found


def judged(found: Mapping[str, Sequence[tuple[float, float]]], bound: float) -> tuple[list[str], bool]:
    """The lines of the report, and whether no interval lies above the bound."""
    lines, passed = [], True
    for name, pairs in found.items():
        ratios = [new / old for old, new in pairs]
        low, high = interval(ratios)
        before, after = (median(values) for values in zip(*pairs, strict=True))
        passed = passed and low <= bound
        mark = "" if low <= bound else f"   above {bound}"
        lines.append(
            f"{name:34} {before:8.5g} → {after:8.5g}   ratio {median(ratios):.3f}  [{low:.3f}, {high:.3f}]"
            f"   {len(pairs)} pairs{mark}"
        )
    return lines, passed


def target_line(pairs: Sequence[tuple[float, float]], target: float) -> tuple[str, bool]:
    """The line about the target, and whether it is met."""
    value = median([new / old for old, new in pairs])
    met = value <= target
    return f"{DELIVERY}: {value:.3f} of the old one, wanted ≤ {target:g}: {'met' if met else 'not met'}", met


def base(name: str) -> Tree:
    """The other checkout: a folder, or a worktree of a revision, with its requirements installed."""
    folder = Path(name)
    if not (folder / "relay").is_dir():
        folder = install.BUILD / "base"
        git = ["git", "-C", str(install.ROOT)]
        if folder.exists():
            subprocess.run([*git, "worktree", "remove", "--force", str(folder)], check=False)
        subprocess.run([*git, "worktree", "prune"], check=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if subprocess.run([*git, "worktree", "add", "--detach", str(folder), name], check=False).returncode:
            raise Failed(f"{name} is neither a checkout nor a revision")
    tree = Tree("old", folder.resolve())
    if not tree.python.exists():
        subprocess.run(["make", "-C", str(tree.folder), ".venv/.installed"], check=True)
    return tree


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-compare", description=__doc__)
    parser.add_argument("base", metavar="BASE", help="a revision, or the folder of a checkout")
    parser.add_argument("--compiled", action="store_true", help="measure the compiled build of this checkout")
    parser.add_argument("--target", type=float, metavar="RATIO", help="the wanted share of CPU time in rooms of two")
    parser.add_argument("--parts", type=int, default=15, metavar="PAIRS", help="pairs of `make bench-parts` (15)")
    parser.add_argument("--whole", type=int, default=5, metavar="PAIRS", help="pairs of 50 rooms of two (5)")
    parser.add_argument("--idle", type=int, default=5, metavar="PAIRS", help="pairs of idle connections (5)")
    parser.add_argument("--bound", type=float, default=BOUND, help=f"the largest ratio that passes ({BOUND})")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    options = read_options(arguments)
    try:
        install.BUILD.mkdir(parents=True, exist_ok=True)
        install.build_load()
        new = Tree("new", COMPILED, "relay") if options.compiled else Tree("new", install.ROOT)
        old = base(options.base)
        found: dict[str, list[tuple[float, float]]] = {}
        for title, measure, pairs in (
            ("parts of a message", parts, options.parts),
            ("the whole, 50 rooms of two", whole, options.whole),
            ("idle connections", idle, options.idle),
        ):
            print(f"{title}, {pairs} pairs:", flush=True)
            found |= compared(measure, old, new, pairs)
    except (Failed, install.Missing) as reason:
        print(f"bench-compare: {reason}", file=sys.stderr)
        return 2
    lines, passed = judged(found, options.bound)
    print(*lines, "No interval lies above the bound." if passed else "An interval lies above the bound.", sep="\n")
    if options.target is not None and options.whole:
        line, met = target_line(found[DELIVERY], options.target)
        print(line)
        passed = passed and met
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
