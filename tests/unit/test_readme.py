"""The README and the pages in docs/: checks that run nothing."""

import re
import tomllib

import click
import pytest

from relay.backend.redis.keys import Keys
from relay.cli import main
from relay.cli.options import every_old_name, every_setting
from relay.gateways import GATEWAYS, reserved_words
from relay.gateways.socketio.apps.rmc3.broadcasting import BROADCAST_EVENTS
from relay.gateways.socketio.apps.rmc3.events import BROADCAST_MESSAGE, FROM_SERVER
from relay.gateways.socketio.apps.rmc3.requests import NAMES
from relay.identity.grants import Right
from relay.model import channels, envelope_head, json_text, names
from tests.abuse import attacks
from tests.documentation import (
    DEPLOYMENT,
    ELSEWHERE,
    PAGES,
    ROOT,
    SNIPPETS,
    anchors,
    blocks,
    commands,
    links,
    marked,
    prose,
    read,
    rows,
)
from tests.integration import test_readme as runner

MAX_README = 200
MAX_GLOSSARY = 50

MAKEFILE = read("Makefile")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_the_readme_is_short() -> None:
    assert len(read("README.md").splitlines()) <= MAX_README


@pytest.mark.parametrize("page", PAGES)
def test_rows_of_tables_are_one_line_each(page: str) -> None:
    broken = [line for line in read(page).splitlines() if line.startswith("|") != line.endswith(" |")]
    assert not broken


def test_the_readme_leads_to_every_page() -> None:
    reached = {link.partition("#")[0] for link in links("README.md")}
    assert reached >= set(PAGES) - {"README.md"}


# Links.


@pytest.mark.parametrize(
    "page", [*PAGES, "CHANGELOG.md", "tests/bench/README.md", "tests/conformance/autobahn/README.md"]
)
def test_every_link_leads_somewhere(page: str) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


# Commands and snippets.


@pytest.mark.parametrize("page", [page for page in PAGES if page != DEPLOYMENT])
def test_every_command_is_run_by_a_test(page: str) -> None:
    unknown = [command for command in commands(page) if command not in ELSEWHERE and not runner.runs(command)]
    assert not unknown


def test_no_command_is_listed_that_no_page_has() -> None:
    shown = {command for page in PAGES for command in commands(page)}
    assert set(ELSEWHERE) <= shown


@pytest.mark.parametrize("page", PAGES)
def test_every_snippet_has_a_test_that_runs_it(page: str) -> None:
    for block in blocks(page):
        if block.language not in {"sh", "mermaid"}:
            assert block.name in SNIPPETS, block.text


@pytest.mark.parametrize("name", SNIPPETS)
def test_the_test_of_the_snippet_names_it(name: str) -> None:
    assert f'"{name}"' in (ROOT / SNIPPETS[name]).read_text()
    assert [block.name for page in PAGES for block in blocks(page)].count(name) == 1


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_every_make_target_and_subcommand_exists(page: str) -> None:
    text = read(page)
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= TARGETS
    subcommands = set(re.findall(r"`(?:\.venv/bin/)?relay ([a-z]+)", text))
    assert subcommands <= set(main.list_commands(click.Context(main)))


# Names.


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_exists(page: str) -> None:
    settings = {one.name.replace("_", "-") for one in every_setting()}
    if page == "docs/settings.md":
        settings |= {one.flag.removeprefix("--") for one in every_old_name()}
    text = prose(page)
    flags = set(re.findall(r"`--([a-z]+(?:-[a-z]+)*)", text))
    options = {
        "ban", "help", "json", "live", "name-prefix", "no-deps", "peer", "profile", "scale", "signing-key", "url",
        "volumes", "workers",
    }  # fmt: skip
    assert flags - options <= settings
    variables = {name.removesuffix("_FILE").lower().replace("_", "-") for name in re.findall(r"`RELAY_([A-Z_]+)", text)}
    if page != DEPLOYMENT:
        assert variables <= settings


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/")])
def test_every_hyphenated_name_is_a_setting(page: str) -> None:
    settings = {one.name.replace("_", "-") for one in every_setting()}
    protocols = {protocol for gateway in GATEWAYS.values() for protocol in gateway.protocols}
    known = (
        settings
        | protocols
        | reserved_words()
        | set(Right)
        | {"signal-relay", "epoch-sequence", "rtcmulticonnection-server"}
    )
    if page == "docs/operations.md":
        # Settings of Redis, and a value of one.
        known |= {"cluster-announce-hostname", "cluster-preferred-endpoint-type", "unknown-endpoint"}
    if page == "docs/gateways/firebase.md":
        known |= {"keep-alive"}
    if page == "docs/security.md":
        known |= set(attacks.find())
    if page == "docs/gateways/sip.md":
        # A message of RFC 4475.
        known |= {"badaspec-spaces"}
    if page == "docs/gateways/xmpp.md":
        # Conditions of BOSH, and of stanza errors.
        known |= {"item-not-found", "policy-violation"}
    if page == "docs/gateways/rtcmulticonnection.md":
        known |= NAMES | BROADCAST_EVENTS | FROM_SERVER | {BROADCAST_MESSAGE}
    named = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", prose(page)))
    assert named <= known


METRICS = set(re.findall(r"`(relay_\w+)`", read("docs/metrics.md")))


@pytest.mark.parametrize("page", PAGES)
def test_every_metric_exists(page: str) -> None:
    assert set(re.findall(r"\b(relay_[a-z_]+_(?:total|seconds)|relay_ready)\b", read(page))) <= METRICS


def test_the_changelog_has_the_new_names_of_metrics_and_settings() -> None:
    table = read("CHANGELOG.md")
    renamed = re.findall(r"\| (`[^|]+) \| (`[^|]+) \|", table)
    settings = {one.name.replace("_", "-") for one in every_setting()}
    for old, new in renamed:
        assert set(re.findall(r"`([\w-]+)`", new)) <= METRICS | settings
        assert not set(re.findall(r"`([\w-]+)`", old)) & (METRICS | settings)
    old_settings = {
        name for old, _ in re.findall(r"\| (`[^|]+) \| ([^|]+) \|", table) for name in re.findall("`([^`]+)`", old)
    }
    assert old_settings >= {one.name.replace("_", "-") for one in every_old_name()}


# Tables that repeat measurements of other pages.


def two_digits(number: str) -> str:
    """A measured share as the pages write it: two significant digits."""
    value = float(number)
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


MEASURED = {
    "Socket.IO + Redis, its cheapest configuration": "Socket.IO",
    "`ws` + ioredis": "ws + ioredis",
    "Nchan + Redis (C)": "Nchan",
    "Centrifugo + Redis (Go)": "Centrifugo, Redis engine",
    "Relay in pure Python": "Relay, Redis bus, pure Python",
    "Relay with the history": "Relay, Redis bus, with its log",
}
"""Rows of the pages, and how the titles of the systems begin of which the cheapest counts."""


@pytest.mark.parametrize("page", ["README.md", "docs/speed.md"])
def test_the_shares_are_those_measured(page: str) -> None:
    results = read("tests/bench/results/results.md")
    shares = results[results.index("## CPU per message to all others: Relay over Redis as a share") :]
    measured = {cells[0]: cells[1:4] for cells in rows(shares[: shares.index("\n## ", 1)])}
    table = read(page)[read(page).index("| Relay as a share of") :]
    shown = {cells[0]: cells[1:] for cells in rows(table[: table.index("\n\n")])}
    assert len(set(shown) & set(MEASURED)) >= 4
    for name, numbers in shown.items():
        if name in MEASURED:
            found = [numbers for title, numbers in measured.items() if title.startswith(MEASURED[name])]
            assert numbers == [two_digits(max(column, key=float)) for column in zip(*found, strict=True)], name


def test_the_protocol_states_the_bounds_of_the_code() -> None:
    text = " ".join(read("docs/protocol.md").split())
    assert f"nest arrays and objects {json_text.MAX_NESTING} levels deep" in text
    assert f"any text of 1 to {names.MAX_NAME} characters" in text
    assert f"at most {names.MAX_ESCAPED:,} bytes" in text
    words = ", ".join(f"`{word}`" for word in sorted(reserved_words()))
    assert f"of today or planned: {words}." in text
    assert f"a label: text of at most {channels.MAX_LABEL:,} bytes" in text
    assert f"text of at most {envelope_head.MAX_KEY} characters: asks for" in text
    assert f"a list of at most {envelope_head.MAX_ADDRESSEES}" in text


# The page on the architecture.


def test_the_glossary_is_short_and_has_no_word_twice() -> None:
    words = [word for cells in rows(marked("docs/architecture.md", "glossary")) for word in cells[0].split(", ")]
    assert len(rows(marked("docs/architecture.md", "glossary"))) <= MAX_GLOSSARY
    assert len(words) == len(set(words))


def test_the_floors_are_those_that_the_linter_checks() -> None:
    (contract, *_) = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    layers = [set(re.findall(r"\w+", layer)) for layer in reversed(contract["layers"])]
    shown: dict[int, set[str]] = {}
    for floor, packages, _ in rows(marked("docs/architecture.md", "floors")):
        shown.setdefault(int(floor), set()).update(re.findall(r"`(\w+)`", packages))
    assert [shown[floor] for floor in sorted(shown)] == layers


def test_the_walk_names_files_and_functions_that_exist() -> None:
    steps = rows(marked("docs/architecture.md", "walk"))
    assert [int(number) for number, *_ in steps] == list(range(1, len(steps) + 1))
    named = re.findall(r"`(relay/[\w/]+\.\w+)`(?: `(\w+)`)?", read("docs/architecture.md"))
    assert len(named) > len(steps)
    for path, name in named:
        assert not name or re.search(rf"(def|class) {name}\b", read(path)), (path, name)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_file_that_is_named_exists(page: str) -> None:
    paths = re.findall(r"`((?:relay|tests|deploy)/[\w./-]+)`", read(page))
    assert not [path for path in paths if "NAME" not in path and not (ROOT / path).exists()]


def test_the_redis_keys_are_those_of_the_code() -> None:
    keys = Keys("relay")
    named = {cells[0].strip("`") for cells in rows(marked("docs/architecture.md", "keys"))}
    of_room = {
        keys.channel("ROOM"),
        *keys.of_tree("ROOM"),
        keys.positions("ROOM"),
        keys.watched("ROOM"),
        keys.channels("ROOM"),
        keys.broadcast("ROOM"),
        keys.waiting("ROOM"),
        keys.places("ROOM"),
        keys.large("ROOM"),
        keys.outbox("ROOM"),
        keys.subjects("ROOM"),
        keys.guards("ROOM"),
    }
    assert named == {
        *of_room,
        *keys.webhook,
        keys.workers,
        keys.fleet_key,
        keys.run,
        keys.address("OWNER"),
        keys.usage("KIND", "HASH", 0).removesuffix("0") + "MINUTE",
        keys.worker_rooms("ID"),
        keys.worker_index("ID"),
        keys.subject("HASH"),
        keys.checkpoint("HASH"),
        keys.turn("NAME"),
        keys.shared("NAME"),
        keys.probe("ID"),
    }


def test_the_size_of_the_script_is_stated_once() -> None:
    assert len(re.findall(r"(\d+) KB compressed", read("README.md"))) == 1
