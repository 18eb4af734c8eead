"""relay.js: runs its tests in Node, and compares its tables with those of the protocol and the Python client."""

import re
import subprocess
from pathlib import Path

from relay.client.outbox import SEND_AGAIN
from relay.model.errors import CLOSE_REASONS, GOING_AWAY, REPLACED
from relay.pages.static import read
from tests.fleet import require

HERE = Path(__file__).parent
ERRORS = read("client/errors.js")


def test_in_node() -> None:
    tests = sorted((HERE / "client").glob("*.test.mjs"))
    command = [require("node"), "--test", *map(str, tests)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_final_close_codes_are_those_of_the_protocol() -> None:
    (final,) = re.findall(r"FINAL = new Set\(\[([0-9, ]+)\]\)", ERRORS)
    codes = {int(code) for code in final.split(",")}
    for reason in CLOSE_REASONS:
        assert (reason.code in codes or reason.code >= REPLACED.code) == (not reason.reconnect), reason
    assert f"GOING_AWAY = {GOING_AWAY.code}" in ERRORS
    assert f"REPLACED = {REPLACED.code}" in ERRORS


def test_the_errors_after_which_it_sends_again_are_those_of_the_python_client() -> None:
    (again,) = re.findall(r"SEND_AGAIN = new Set\(\[([^\]]+)\]\)", ERRORS)[:1]
    assert set(re.findall(r"'(\w+)'", again)) == SEND_AGAIN
