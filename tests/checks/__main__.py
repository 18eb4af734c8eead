"""Check the rules of this project over `relay/` and print each violation: a step of `make lint`."""

import sys
from pathlib import Path

from tests.checks.rules import RULES, read_modules

ROOT = Path(__file__).parents[2]


def main() -> int:
    modules = read_modules(ROOT)
    violations = [violation for rule in RULES for violation in rule(modules, ROOT)]
    for violation in violations:
        print(violation)
    print(f"Checked {len(modules)} modules against {len(RULES)} rules of this project: {len(violations)} violations.")
    return int(bool(violations))


if __name__ == "__main__":
    sys.exit(main())
