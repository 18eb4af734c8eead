"""The answers to any request are those of the OpenAPI document; see openapi_requests.py."""

import subprocess
import sys
from pathlib import Path

import pytest

from relay.http.openapi import document

REQUESTS = Path(__file__).with_name("openapi_requests.py")
CALLERS = 3
"""Those with the admin token, without it, and where there is none."""


@pytest.mark.timeout(300)
def test_answers_are_those_of_the_document() -> None:
    """In a process of its own: schemathesis makes most of its requests when tests are collected.

    That takes many seconds and 600 MB, in each of the processes that run tests side by side.
    """
    options = ["-q", "-p", "no:cacheprovider", "-o", "addopts=--strict-config"]
    command = [sys.executable, "-m", "pytest", *options, str(REQUESTS)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    operations = sum(len(item.keys() & {"get", "post", "put", "delete"}) for item in document({})["paths"].values())
    assert f"{CALLERS * operations} passed" in done.stdout
