"""The OpenAPI document agrees with the bodies that the relay reads; tests/integration/test_openapi.py asks workers."""

import json
from typing import Any

import msgspec
import pytest
from jsonschema_rs import Draft202012Validator

from relay.gateways import error_tables
from relay.http.bodies import KickBody, MoveBody, NewRooms, PublishBody
from relay.http.openapi import document
from relay.http.room_paths import ROOM_PATHS
from relay.model.rules import RuleChange

DOCUMENT = document(error_tables())


def is_valid(schema: str, value: Any) -> bool:
    whole = {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]}
    return Draft202012Validator(whole).is_valid(value)


def is_read(kind: type, value: Any) -> bool:
    try:
        msgspec.json.decode(json.dumps(value), type=kind)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("schema", "kind", "values"),
    [
        (
            "RuleChange",
            RuleChange,
            [
                {},
                {"locked": True, "password": "", "owner": "p", "max_members": 0, "ttl": 5, "history": None},
                {"max_members": -1},
                {"max_members": 10**8},
                {"ttl": 10**8},
                {"password": "x" * 129},
                {"lock": True},
                [],
            ],
        ),
        (
            "Kick",
            KickBody,
            [
                {"peer": "p"},
                {"subject": "a b", "reason": "x" * 200, "ban": 0},
                {"peer": "p", "subject": None},
                {"peer": "p", "ban": -1},
                {"peer": "p", "reason": "x" * 201},
                {"subject": ""},
                {"peer": 1},
            ],
        ),
        ("Move", MoveBody, [{"to": "a"}, {"to": "a", "peers": ["p"]}, {"to": "a", "peers": []}, {}, {"to": 1}]),
        (
            "NewRooms",
            NewRooms,
            [
                {"rooms": [{"room": "a"}]},
                {"rooms": [{"room": "a", "rules": {"locked": True}}] * 100},
                {"rooms": []},
                {"rooms": [{"room": "a"}] * 101},
                {"rooms": [{}]},
            ],
        ),
        (
            "Publication",
            PublishBody,
            [{"rooms": ["a"], "envelope": {}}, {"rooms": ["a"]}, {"rooms": [], "envelope": {}}, {"envelope": {}}],
        ),
    ],
)
def test_the_schemas_of_bodies_are_those_of_the_readers(schema: str, kind: type, values: list[Any]) -> None:
    told = [is_valid(schema, value) for value in values]
    assert told == [is_read(kind, value) for value in values]
    assert set(told) == {True, False}


def test_a_kick_names_either_a_peer_or_a_subject() -> None:
    assert not is_valid("Kick", {})
    assert not is_valid("Kick", {"peer": "p", "subject": "s"})


def test_each_operation_that_changes_something_has_the_errors_of_origins_and_tokens() -> None:
    for path, item in ROOM_PATHS.items():
        for method in item.keys() & {"post", "put", "delete"}:
            responses = item[method]["responses"]
            assert {"401", "403", "429", "503", "504"} <= responses.keys(), path
            assert "bad_origin" in json.dumps(responses["403"])
            assert item[method]["security"]
