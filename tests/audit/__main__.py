"""Ask for the known vulnerabilities of all locked packages: `python -m tests.audit PIP_AUDIT` (`make audit`).

Python packages are looked up at PyPI, Node packages at the npm registry. The status is 0 if every package was looked up
and none is affected, 1 if some are, and 2 if some could not be looked up: a silent service is no pass.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]

_TIMEOUT: Final = 600

Run = Callable[[Sequence[str], Path], str]
"""Runs a command in a folder, and returns its standard output; its status does not count."""


@dataclass
class Report:
    """The known vulnerabilities of one lock file's packages."""

    file: str
    affected: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    """Why packages could not be looked up."""

    def lines(self) -> Iterator[str]:
        for one in self.affected:
            yield f"{self.file}: vulnerable: {one}"
        for reason in self.unknown:
            yield f"{self.file}: not audited: {reason}"
        if not self.affected and not self.unknown:
            yield f"{self.file}: no known vulnerabilities"


def run(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    return done.stdout if done.stdout.strip() else json.dumps({"error": done.stderr.strip()[-500:]})


def locks(root: Path) -> list[Path]:
    """The lock files of Python and Node packages."""
    found = [*root.glob("requirements.lock"), *root.glob("deploy/requirements*.lock")]
    found += [*root.glob("tests/**/requirements*.lock"), *root.glob("tests/**/package-lock.json")]
    return sorted(path for path in found if "node_modules" not in path.parts)


def audit(path: Path, run: Run, pip_audit: str) -> Report:
    report = Report(str(path))
    if path.suffix == ".json":
        command = ["npm", "audit", "--package-lock-only", "--json"]
        read = _read_npm
    else:
        command = [pip_audit, "--disable-pip", "--require-hashes", "--requirement", path.name, "--format", "json"]
        read = _read_pip
    try:
        read(json.loads(run(command, path.parent)), report)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        report.unknown.append(f"{type(error).__name__}: {error}")
    return report


def _read_pip(answer: dict[str, Any], report: Report) -> None:
    if "dependencies" not in answer:
        report.unknown.append(f"the advisory service cannot be reached: {answer.get('error')}")
        return
    # pip-audit calls it a success when the service knew none of the packages.
    skipped = [one for one in answer["dependencies"] if "skip_reason" in one]
    if skipped:
        first = skipped[0]["skip_reason"]
        report.unknown.append(f"the advisory service does not answer for {len(skipped)} packages, first: {first}")
    for one in answer["dependencies"]:
        for found in one.get("vulns", ()):
            fixed = ", ".join(found.get("fix_versions", ())) or "no version"
            report.affected.append(f"{one['name']} {one['version']}: {found['id']}, fixed in {fixed}")


def _read_npm(answer: dict[str, Any], report: Report) -> None:
    if "vulnerabilities" not in answer:
        reason = answer.get("message") or answer.get("error")
        report.unknown.append(f"the advisory service cannot be reached: {reason}")
        return
    for name, found in answer["vulnerabilities"].items():
        report.affected.append(f"{name} {found.get('range', '')}: {found.get('severity', 'of unknown severity')}")


def main(pip_audit: str, root: Path = ROOT, run: Run = run) -> int:
    status = 0
    for path in locks(root):
        report = audit(path, run, pip_audit)
        report.file = str(path.relative_to(root))
        print(*report.lines(), sep="\n", flush=True)
        status = max(status, 2 if report.unknown else 1 if report.affected else 0)
    print(
        (
            "Audit: no locked package has a known vulnerability.",
            "Audit: FAILED, packages have known vulnerabilities; update them with `make lock` or in package.json.",
            "Audit: FAILED, packages could not be looked up; this is no pass. Run it where the advisories are reached.",
        )[status]
    )
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
