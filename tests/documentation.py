"""The documentation as data: its pages, the commands and snippets in them, and which test runs each.

Every fenced block of a page is one of these:

- `sh`: commands, one a line. Each is run by a test, or listed in `ELSEWHERE` with the test or stage that runs it.
- `mermaid`: a diagram.
- anything else: a snippet, with its name in a comment on the line before (`<!-- snippet: NAME -->`). `SNIPPETS` says
  which test runs it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]

PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "deploy/README.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")),
)

ELSEWHERE = {
    "make run": "tests/unit/test_readme.py checks the target; tests/integration runs the command behind it",
    "make test": "the stage that runs this",
    "make lint": ".ci/run",
    "docker compose up --build --scale worker=3": "make test-deploy",
    "make bench": "by hand, before a release",
    "make bench-quick": "by hand; tests/unit/bench tests the parts",
    "make bench-parts": "by hand; tests/unit/bench tests the parts",
}
"""Commands that tests/integration/test_readme.py does not run, and what runs them."""

DEPLOYMENT = "deploy/README.md"
"""All commands of this page are run, or listed, by tests/deploy/test_page.py."""

SNIPPETS = {
    "page": "tests/browser/test_readme.py",
    "websocket": "tests/browser/test_readme.py",
    "socketio": "tests/browser/test_readme.py",
    "join": "tests/browser/test_readme.py",
    "call": "tests/browser/test_readme.py",
    "library": "tests/browser/test_readme.py",
    "y-webrtc": "tests/browser/test_y_webrtc.py",
    "python": "tests/integration/test_readme.py",
    "program": "tests/integration/test_readme.py",
    "restart": "tests/integration/test_readme.py",
    "transcript": "tests/integration/test_readme.py",
    "infos": "tests/integration/test_readme.py",
    "order": "tests/integration/test_readme.py",
    "reference-python": "tests/integration/test_reference_clients.py",
    "reference-javascript": "tests/integration/test_reference_clients.py",
    "own-python": "tests/integration/test_reference_clients.py",
    "own-javascript": "tests/integration/test_reference_clients.py",
}

_FENCE = re.compile(
    r"(?:^<!-- snippet: (?P<name>[\w-]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


class Block(NamedTuple):
    """A fenced block; `name` is "" for a block without one."""

    language: str
    name: str
    text: str


def read(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(page: str) -> Iterator[Block]:
    for found in _FENCE.finditer(read(page)):
        yield Block(found["language"], found["name"] or "", found["text"])


def commands(page: str) -> list[str]:
    return [line for block in blocks(page) if block.language == "sh" for line in block.text.strip().splitlines()]


def snippet(name: str) -> str:
    (text,) = [block.text for page in PAGES for block in blocks(page) if block.name == name]
    return text


def anchors(text: str) -> set[str]:
    """Where links into a page can lead, as GitHub names them."""
    titles = re.findall(r"^#+ (.*)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: str) -> list[str]:
    """Targets of links and pictures within the project."""
    targets = re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", read(page)))
    return [target for target in targets if not re.match(r"https?://", target)]


def prose(page: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", read(page))
