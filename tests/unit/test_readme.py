"""The README's tables are made from the declarations they repeat."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from relay.cli import main
from relay.model import errors

README = Path(__file__).parents[2] / "README.md"


def settings_table() -> str:
    return CliRunner().invoke(main, ["config", "--markdown"], env={}).output.strip()


def errors_table() -> str:
    rows = [f"| `{code}` | {status} | {text} |" for code, (status, text) in errors.ERRORS.items()]
    return "\n".join(["| Code | HTTP | Meaning |", "| --- | --- | --- |", *rows])


def closes_table() -> str:
    rows = [
        f"| {reason.code} | `{reason.name}` | {'yes' if reason.reconnect else 'no'} | {reason.text} |"
        for reason in errors.CLOSE_REASONS
    ]
    return "\n".join(["| Code | Reason | Come back? | Meaning |", "| --- | --- | --- | --- |", *rows])


def faults_table() -> str:
    results = (README.parent / "tests" / "chaos" / "results" / "faults.md").read_text()
    return results[results.index("| Fault") :].strip()


@pytest.mark.parametrize("make", [settings_table, errors_table, closes_table, faults_table])
def test_the_table_is_up_to_date(make) -> None:
    name = make.__name__.removesuffix("_table")
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", README.read_text(), re.DOTALL)
    assert found, f"no place for {name} in the README"
    assert found[1] == make()
