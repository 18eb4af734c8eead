"""The tables and programs in docs/ that repeat other files: `python -m tests.tables` (`make docs`) writes them anew.

Each table stands in its page between two comments, `<!-- NAME -->` and `<!-- /NAME -->`.
tests/unit/test_docs_tables.py checks that no table is out of date.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from relay.cli.options import GROUPS, every_old_name, every_setting
from relay.cli.text import plain
from relay.config import Setting
from relay.config.declaring import to_flag
from relay.gateways import GATEWAYS, error_tables
from relay.http.metrics import WORKER_UP
from relay.metrics import API, Metrics
from relay.model.errors import CLOSE_REASONS, ERRORS, ErrorTable

DOCS: Final = Path(__file__).parents[1] / "docs"


def table(head: str, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    columns = head.split(", ")
    yield "| " + " | ".join(columns) + " |"
    yield "| " + " | ".join(["---"] * len(columns)) + " |"
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def settings() -> Iterator[str]:
    """One table for each group that the help shows."""
    by_name = {one.name: one for one in every_setting()}
    for number, (title, names) in enumerate(GROUPS.items()):
        if number:
            yield ""
        yield f"## {title}"
        yield ""
        yield from table(
            "Flag and variable, Default, Meaning, Allowed, When exceeded",
            [_setting(by_name[name]) for name in names.split()],
        )


def _setting(one: Setting) -> list[str]:
    names = "<br>".join(code(name) for name in (one.flag, one.variable, one.file_variable) if name)
    return [names, code(plain(one.default)), one.description, one.allowed, one.consequence]


def old_settings() -> Iterator[str]:
    rows = []
    for old in every_old_name():
        now = f"part of {code(to_flag(old.new))}" if old.folded else code(to_flag(old.new))
        rows.append([code(old.flag), now if old.new else f"no effect: {old.now}"])
    yield from table("Old name, Today", rows)


def errors() -> Iterator[str]:
    """One table of the codes that gateways share, and one for each gateway that has codes of its own."""
    yield from _errors(ERRORS)
    for title, own in error_tables().items():
        yield ""
        yield f"Only {title}:"
        yield ""
        yield from _errors(own)


def _errors(codes: ErrorTable) -> Iterator[str]:
    yield from table("Code, HTTP, Meaning", [[code(name), str(status), text] for name, (status, text) in codes.items()])


def closes() -> Iterator[str]:
    rows = [[str(one.code), code(one.name), "yes" if one.reconnect else "no", one.text] for one in CLOSE_REASONS]
    yield from table("Code, Reason, Reconnect?, Meaning", rows)


def metrics() -> Iterator[str]:
    rows = [
        [code(one.name), one.kind, ", ".join(map(code, one.labels)), one.help, one.advice]
        for one in (*Metrics().declarations, WORKER_UP)
    ]
    yield from table("Metric, Type, Labels, Meaning, What to do", rows)


def protocols() -> Iterator[str]:
    """The values of the label `protocol`."""
    rows = [[code(name), gateway.title] for gateway in GATEWAYS.values() for name in gateway.protocols]
    yield from table("Protocol, Gateway", [*rows, [code(API), "none: the HTTP interface of the relay; errors alone"]])


def faults() -> Iterator[str]:
    """The counts of the last run of `make chaos`."""
    results = (DOCS.parent / "tests" / "chaos" / "results" / "faults.md").read_text()
    yield from results[results.index("| Fault") :].strip().splitlines()


def shown(file: str, name: str, language: str) -> Callable[[], Iterator[str]]:
    """A file of docs/ as a snippet of a page."""

    def lines() -> Iterator[str]:
        yield f"<!-- snippet: {name} -->"
        yield f"```{language}"
        yield from (DOCS / file).read_text().splitlines()
        yield "```"

    return lines


TABLES: Final[dict[tuple[str, str], Callable[[], Iterator[str]]]] = {
    ("settings.md", "settings"): settings,
    ("settings.md", "old-settings"): old_settings,
    ("errors.md", "errors"): errors,
    ("errors.md", "closes"): closes,
    ("metrics.md", "metrics"): metrics,
    ("metrics.md", "protocols"): protocols,
    ("guarantees.md", "faults"): faults,
    ("your-own-client.md", "python"): shown("clients/client.py", "reference-python", "python"),
    ("your-own-client.md", "javascript"): shown("clients/client.mjs", "reference-javascript", "js"),
}
"""(Page, name of the table) → its lines."""


def updated(page: str, text: str) -> str:
    """A page with its tables made anew; ValueError if a table has no place in it."""
    for (name, table_name), lines in TABLES.items():
        if name == page:
            begin, end = f"<!-- {table_name} -->\n", f"\n<!-- /{table_name} -->"
            pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
            if not pattern.search(text):
                raise ValueError(f"docs/{page} has no place for the table {table_name}")
            content = begin + "\n".join(lines()) + end
            text = pattern.sub(lambda _, content=content: content, text)  # type: ignore[misc]
    return text


def main() -> None:
    for page in sorted({page for page, _ in TABLES}):
        path = DOCS / page
        path.write_text(updated(page, path.read_text()))


if __name__ == "__main__":
    main()
