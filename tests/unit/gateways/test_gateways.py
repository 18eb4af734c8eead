"""The list of gateways: declarations, which of them serve, and the values for the rest of the relay."""

import importlib
from pathlib import Path
from typing import Any

import pytest

from relay import gateways, http, pages
from relay.config import Settings, SettingsError, load
from relay.config.declaring import settings_of
from relay.gateways import EXTENSIONS, GATEWAYS, GatewaySettings, enabled, error_codes, error_tables, reserved_words
from relay.gateways.composition import routes
from relay.http.about import ServiceDescription
from relay.metrics import API
from relay.model.errors import ERRORS
from relay.model.names import CORE_WORDS, escape_room


def chosen(*names: str) -> list[str]:
    return [gateway.name for gateway in enabled(Settings(extensions={"gateways": names}))]


def test_every_folder_with_a_declaration_is_listed_once() -> None:
    folders = {path.parent.name for path in Path(gateways.__file__).parent.glob("*/declaration.py")}
    assert folders == set(GATEWAYS) == {gateway.name for gateway in GATEWAYS.values()}


@pytest.mark.parametrize("name", GATEWAYS)
def test_each_has_routes_and_a_state(name: str) -> None:
    module = importlib.import_module(f"relay.gateways.{name}.routes")
    assert callable(module.routes)
    assert callable(module.state)


def test_all_serve_unless_some_are_named() -> None:
    assert [gateway.name for gateway in enabled(Settings())] == chosen("*") == list(GATEWAYS)
    for name in GATEWAYS:
        assert chosen(name) == [name]
    assert chosen(*reversed(GATEWAYS)) == list(GATEWAYS)


@pytest.mark.parametrize("text", ["", "smoke-signals", "*,smoke-signals", "NATIVE"])
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(text: str) -> None:
    with pytest.raises(SettingsError, match=", ".join(GATEWAYS)):
        load({"gateways": text}, {}, extensions=EXTENSIONS)


def test_the_names_are_read_as_a_list() -> None:
    settings = load({"gateways": ", ".join(GATEWAYS)}, {}, extensions=EXTENSIONS).settings
    assert settings.of(GatewaySettings).gateways == tuple(GATEWAYS)


def test_no_setting_code_or_path_belongs_to_two() -> None:
    settings = [one.name for extension in EXTENSIONS for one in settings_of(extension.declaring)]
    codes = [*ERRORS, *(code for table in error_tables().values() for code in table)]
    prefixes = [prefix for gateway in GATEWAYS.values() for prefix in gateway.prefixes]
    for names in (settings, codes, prefixes):
        assert len(set(names)) == len(names)
    assert all(prefix.startswith("/") and not prefix.endswith("/") for prefix in prefixes)


def test_the_first_words_of_all_paths_but_those_of_pages_are_reserved() -> None:
    settings, about = Settings(), ServiceDescription(["/"], {})
    found: list[Any] = [*routes(settings), *http.routes(settings, [], about)]
    words = {word for route in found for word in [route.path.split("/")[1]] if word and not word.startswith("{")}
    assert words | {"rooms", "health", "metrics", "socket.io", "signalr"} <= reserved_words()
    shown: list[Any] = list(pages.routes(settings, about))
    pages_words = {route.path.split("/")[1] for route in shown} - {""}
    assert "demo" in pages_words
    assert not pages_words & reserved_words()


def test_no_prefix_begins_with_a_word_of_the_relay_or_of_its_pages() -> None:
    about = ServiceDescription(["/"], {})
    shown: list[Any] = list(pages.routes(Settings(), about))
    taken = CORE_WORDS | {route.path.split("/")[1] for route in shown}
    prefixes = [prefix for gateway in GATEWAYS.values() for prefix in gateway.prefixes]
    # Below a room, gateways have paths of their own.
    fixed = {prefix.split("/")[1] for prefix in prefixes if not prefix.startswith("/rooms/{room}/")}
    assert not taken & fixed


def test_reserved_words_are_names_that_need_no_escape() -> None:
    assert [escape_room(word) for word in sorted(reserved_words())] == sorted(reserved_words())


def test_each_protocol_has_the_shared_codes_and_those_of_its_gateway() -> None:
    codes = error_codes(Settings())
    assert set(codes) == {protocol for gateway in GATEWAYS.values() for protocol in gateway.protocols}
    assert API not in codes
    for gateway in GATEWAYS.values():
        assert all(set(codes[protocol]) == {*ERRORS, *gateway.errors} for protocol in gateway.protocols)
    assert list(error_codes(Settings(extensions={"gateways": ("native",)}))) == ["native"]
