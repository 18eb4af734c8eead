"""Every case, in every way an application can read and write; README.md lists those whose result is not a plain OK."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.conformance.autobahn import cases_close, cases_compression, cases_framing, cases_limits, cases_utf8
from tests.conformance.autobahn.case import Case, verdict
from tests.conformance.autobahn.cases_limits import Load
from tests.conformance.autobahn.client import perform
from tests.conformance.autobahn.echo import WAYS, served

CASES: Final[list[Case | Load]] = [
    *cases_framing.CASES,
    *cases_utf8.CASES,
    *cases_close.CASES,
    *cases_limits.LOADS,
    *cases_compression.CASES,
]

_ROW = re.compile(r"^\| ([\w., ]+) \| ([\w, ]+) \| ([A-Z-]+) \| .+ \|$", re.MULTILINE)


class Echo(NamedTuple):
    way: str
    port: int


@pytest.fixture(scope="module", params=WAYS)
def echo(request: pytest.FixtureRequest) -> Iterator[Echo]:
    with served(request.param) as port:
        yield Echo(request.param, port)


def documented() -> dict[tuple[str, str], str]:
    """The results in the README, by way and number."""
    rows = _ROW.findall((Path(__file__).parent / "README.md").read_text())
    return {
        (way, number): result
        for numbers, ways, result in rows
        for number in numbers.split(", ")
        for way in ways.split(", ")
    }


@pytest.mark.parametrize("case", [pytest.param(case, id=case.number) for case in CASES])
def test_case(echo: Echo, case: Case | Load) -> None:
    made = case.case() if isinstance(case, Load) else case
    expected = documented().get((echo.way, case.number), "OK")
    assert verdict(made, perform(made, echo.port)) == expected, case.title


def test_no_case_is_missing() -> None:
    numbers = [case.number for case in CASES]
    assert len(set(numbers)) == len(numbers)
    groups = Counter(int(number.split(".")[0]) for number in numbers)
    assert groups == {1: 16, 2: 11, 3: 7, 4: 10, 5: 20, 6: 145, 7: 37, 9: 54, 10: 1, 12: 2, 13: 14}


def test_readme_tells_of_cases_and_ways_that_exist() -> None:
    assert documented()
    assert {number for _, number in documented()} <= {case.number for case in CASES}
    assert {way for way, _ in documented()} <= set(WAYS)
