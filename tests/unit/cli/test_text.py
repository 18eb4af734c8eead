"""The text that the commands print."""

import re
import sys

import pytest

from relay.cli.text import aligned, greeting, plain, shown
from relay.config import ListenAddress, Settings, declared


def test_greeting_names_the_page_where_there_is_one() -> None:
    assert re.search(r"page +http://localhost:80/$", greeting(Settings(host="localhost"), 80), re.MULTILINE)
    assert "page " not in greeting(Settings(pages="off"), 80)


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        (Settings(host="0.0.0.0"), "ws://localhost:80/"),
        (Settings(host="::"), "ws://localhost:80/"),
        (Settings(host="::1"), "ws://[::1]:80/"),
        (Settings(host="relay.example", tls_cert="c", tls_key="k"), "wss://relay.example:80/"),
    ],
)
def test_greeting_names_an_address_that_can_be_reached(settings: Settings, address: str) -> None:
    assert re.search(rf"try +\S+ -m websockets {re.escape(address)}$", greeting(settings, 80))


def test_greeting_has_the_whole_path_of_python_where_the_folder_is_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert f" {sys.executable} -m websockets " in greeting(Settings(), 80)


def test_greeting_names_the_addresses_of_the_gateways_that_serve() -> None:
    host, port = "localhost", 80
    assert "serves  ws://localhost:80/ and ws://localhost:80/rooms/{room}" in greeting(Settings(host=host), port)
    text = greeting(Settings(host=host, extensions={"gateways": ("socketio",)}), port)
    assert "serves  http://localhost:80/socket.io/" in text
    assert "ws://" not in text
    assert " try " not in text


def test_greeting_leads_to_the_demo_where_clients_need_tokens() -> None:
    line = "try     http://127.0.0.1:80/demo?room=demo, with a token that `relay token --room demo` prints"
    assert greeting(Settings(auth="required"), 80).endswith(line)
    assert " try " not in greeting(Settings(auth="required", pages="off"), 80)


@pytest.mark.parametrize(("workers", "ports"), [(1, "port 8890"), (3, "ports 8890 to 8892")])
def test_greeting_names_the_address_for_other_replicas(workers: int, ports: str) -> None:
    text = greeting(Settings(workers=workers), 80, ListenAddress("10.0.0.1", 8890))
    assert re.search(rf"^ +peers +10\.0\.0\.1 {ports}, for requests of other replicas$", text, re.MULTILINE)
    assert "peers" not in greeting(Settings(workers=workers), 80)


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert aligned([("a", "b"), ("long", "c")]) == "a     b\nlong  c"


@pytest.mark.parametrize(
    ("value", "text"),
    [("", ""), (("a", "b"), "a,b"), ((), ""), (8888, "8888"), (10.0, "10"), (0.05, "0.05"), (1e6, "1000000.0")],
)
def test_a_value_is_written_as_a_flag_takes_it(value: object, text: str) -> None:
    assert plain(value) == text


def test_an_empty_value_is_shown_as_a_dash_and_a_secret_is_masked() -> None:
    settings = {one.name: one for one in declared()}
    assert shown(settings["redis_url"], "") == "-"
    assert shown(settings["allowed_origins"], ("*",)) == "*"
    assert shown(settings["admin_token"], "hunter2") == "***"
    assert shown(settings["auth_key"], "-----BEGIN\nx") == "-----BEGIN\\x0ax"
