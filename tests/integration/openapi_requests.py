"""Schemathesis against running workers: the answers to any request are those of the document."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from relay.gateways import error_tables
from relay.http.openapi import document
from tests.integration.served import served

DOCUMENT = document(error_tables())
TOKEN = "a-secret-token-for-tests"


def without_security() -> dict[str, Any]:
    """The document as it is where the token does not vary: always given, or none to give."""
    paths = deepcopy(DOCUMENT["paths"])
    for item in paths.values():
        for method in item.keys() & {"get", "post", "put", "delete"}:
            item[method].pop("security", None)
    return DOCUMENT | {"paths": paths}


api = schemathesis.openapi.from_dict(DOCUMENT)
api_of_one_caller = schemathesis.openapi.from_dict(without_security())
thorough = settings(
    max_examples=10, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
brief = settings(thorough, max_examples=5)
"""For callers without a token: nearly all of their requests are refused alike."""


@pytest.fixture(scope="module")
def open_url() -> Iterator[str]:
    """A relay without an admin token."""
    with served() as url:
        yield url


@pytest.fixture(scope="module")
def guarded_url() -> Iterator[str]:
    """A relay with one."""
    turn = ("--turn-servers", "turn:turn.example", "--turn-secret", "secret-of-a-turn-server")
    with served("--admin-token", TOKEN, *turn) as url:
        yield url


@api_of_one_caller.parametrize()
@brief
def test_without_a_token_set(case: Any, open_url: str) -> None:
    case.call_and_validate(base_url=open_url)


@api_of_one_caller.parametrize()
@thorough
def test_with_the_token(case: Any, guarded_url: str) -> None:
    case.call_and_validate(base_url=guarded_url, headers={"Authorization": f"Bearer {TOKEN}"})


@api.parametrize()
@brief
def test_without_the_token(case: Any, guarded_url: str) -> None:
    case.call_and_validate(base_url=guarded_url)
