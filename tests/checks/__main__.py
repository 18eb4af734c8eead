"""Check the rules of this project over `relay/` and print each violation: a step of `make lint`."""

import sys
from pathlib import Path

from tests.checks.rules import REPORTED, RULES, read_modules

ROOT = Path(__file__).parents[2]


def main(arguments: list[str]) -> int:
    modules = read_modules(ROOT)
    failed = False
    for rule in RULES:
        violations = list(rule(modules, ROOT))
        if rule in REPORTED and arguments != ["--all"]:
            violations = [f"{len(violations)} violations of {rule.__name__}"] if violations else []
        else:
            failed = failed or bool(violations)
        print(*violations, sep="\n", end="\n" if violations else "")
    print(f"Checked {len(modules)} modules against {len(RULES)} rules of this project.")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
