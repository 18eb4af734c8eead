"""The tables in docs/ that are made from declarations, and that nothing is left out of them."""

import re

import pytest

from relay.cli.options import every_old_name, every_setting
from relay.gateways import error_tables
from relay.metrics import Metrics
from relay.model.errors import CLOSE_REASONS, ERRORS
from tests.tables import DOCS, TABLES, updated

PAGES = sorted({page for page, _ in TABLES})


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_are_up_to_date(page: str) -> None:
    text = (DOCS / page).read_text()
    assert text == updated(page, text), "run `make docs`"


def test_nothing_is_left_out() -> None:
    settings, errors, metrics = ((DOCS / page).read_text() for page in ("settings.md", "errors.md", "metrics.md"))
    assert [one.flag for one in every_setting() if f"| `{one.flag}`" not in settings] == []
    assert [one.flag for one in every_old_name() if f"| `{one.flag}`" not in settings] == []
    codes = [*ERRORS, *(name for table in error_tables().values() for name in table)]
    assert [name for name in codes if f"| `{name}` |" not in errors] == []
    assert [one.code for one in CLOSE_REASONS if f"| {one.code} |" not in errors] == []
    names = {sample for family in Metrics().registry.collect() for sample in {family.name, f"{family.name}_total"}}
    documented = set(re.findall(r"\| `(relay_\w+)` \|", metrics))
    assert documented - names == {"relay_worker_up"}
    assert len(documented) == len(Metrics().declarations) + 1


@pytest.mark.parametrize("page", PAGES)
def test_every_row_has_the_cells_of_its_head(page: str) -> None:
    for table in re.findall(r"(?:^\|.*\n)+", (DOCS / page).read_text(), re.MULTILINE):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(counts) == 1, table


def test_a_page_without_the_marks_of_a_table_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"docs/metrics.md has no place for the table metrics"):
        updated("metrics.md", "# Metrics")
