"""Prints the coverage of each package and fails where it is below the threshold: the last step of `make coverage`."""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

PACKAGES = ("relay/rooms", "relay/backend", "relay/model", "relay/wire")
THRESHOLD = 95.0
"""The least percentage of lines, and of branches, in each package."""


@dataclass
class Tally:
    """Lines and branches of one package: how many there are, and how many the tests ran."""

    lines: int = 0
    lines_run: int = 0
    branches: int = 0
    branches_run: int = 0

    def add(self, summary: Mapping[str, Any]) -> None:
        self.lines += summary["num_statements"]
        self.lines_run += summary["covered_lines"]
        self.branches += summary["num_branches"]
        self.branches_run += summary["covered_branches"]

    @property
    def percentages(self) -> tuple[float, float]:
        return percentage(self.lines_run, self.lines), percentage(self.branches_run, self.branches)


def percentage(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 100.0


def tally(files: Mapping[str, Any], packages: Iterable[str] = PACKAGES) -> dict[str, Tally]:
    """The sums over the files of each package, from the `files` of coverage's JSON report."""
    tallies = {package: Tally() for package in packages}
    for path, report in files.items():
        for package, sums in tallies.items():
            if path.startswith(f"{package}/"):
                sums.add(report["summary"])
    return tallies


def table(tallies: Mapping[str, Tally]) -> str:
    rows = ["package         lines        branches"]
    for package, sums in tallies.items():
        lines, branches = sums.percentages
        marks = "" if min(lines, branches) >= THRESHOLD else f"   below {THRESHOLD:g} %"
        rows.append(f"{package:14} {lines:5.1f} %  {branches:5.1f} % of {sums.branches}{marks}")
    return "\n".join(rows)


def main() -> int:
    command = [sys.executable, "-m", "coverage", "json", "-q", "-o", "-"]
    report = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    tallies = tally(report["files"])
    print(table(tallies))
    missed = [package for package, sums in tallies.items() if min(sums.percentages) < THRESHOLD]
    if missed:
        print(f"coverage: below {THRESHOLD:g} % in {', '.join(missed)}; `.venv/bin/coverage report -m` names the lines")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
