"""The OpenAPI document describes every route and every error, and nothing else."""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from jsonschema_rs import Draft202012Validator
from starlette.routing import Route

from relay import http
from relay.config import Settings
from relay.gateways import error_tables
from relay.http.openapi import document
from relay.model.errors import ERRORS, Refused
from relay.model.names import check_room, escape_room
from tests.unit.http.conftest import ABOUT

DOCUMENT = document(error_tables())

METHODS = {"get", "post", "put", "delete", "patch", "options"}


def described() -> set[tuple[str, str]]:
    return {(path, method) for path, item in DOCUMENT["paths"].items() for method in item if method in METHODS}


def test_every_route_is_described_and_nothing_else() -> None:
    served = {
        (route.path_format, method.lower())
        for route in http.routes(Settings(), [], ABOUT)
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert described() == served


def references(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if "$ref" in part else []
        return own + [found for value in part.values() for found in references(value)]
    return [found for value in part for found in references(value)] if isinstance(part, (list, tuple)) else []


def test_every_schema_exists_and_is_used() -> None:
    names = {reference.removeprefix("#/components/schemas/") for reference in references(DOCUMENT)}
    assert names == set(DOCUMENT["components"]["schemas"])


def test_schemas_are_valid() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator(schema | {"components": DOCUMENT["components"]})


def test_the_document_is_json() -> None:
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT


def test_operations_are_named_once_and_summarised() -> None:
    operations = [DOCUMENT["paths"][path][method] for path, method in described()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(operation["summary"] for operation in operations)


def test_error_codes_are_those_of_the_table() -> None:
    [code] = [DOCUMENT["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]]
    assert [one["enum"] for one in code["anyOf"]] == [list(ERRORS), *map(list, error_tables().values())]


@pytest.mark.parametrize(("schema", "check"), [("Room", check_room), ("RoomText", escape_room)])
def test_names_have_the_alphabet_of_names(schema: str, check: Callable[[str], str]) -> None:
    pattern = re.compile(DOCUMENT["components"]["schemas"][schema]["pattern"])
    characters = [chr(code) for code in (*range(0x900), *range(0x2000, 0xD800, 97), *range(0xE000, 0x10FFFF, 509))]
    names = [
        *characters,
        *(quote(one, errors="surrogatepass") for one in (*characters, "\ufffd", "\ufffe", "\ud800", "\udfff")),
    ]
    for name in [*names, "%2", "%zz", "%e9", "a/b", "\ufffd", "%41", "%C3", "%80", "%20" * 255, "%20" * 256, ""]:
        assert bool(pattern.search(name)) == accepted(check, name) or name in {".", "\n"}, name


def accepted(check: Callable[[str], str], name: str) -> bool:
    try:
        return bool(check(name))
    except Refused:
        return False
