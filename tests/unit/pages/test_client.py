"""relay.js: its own tests, which Node runs; and what it shares with the protocol's tables and the Python client."""

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


def test_it_knows_after_which_closes_to_stay_away() -> None:
    (final,) = re.findall(r"FINAL = new Set\(\[([0-9, ]+)\]\)", ERRORS)
    codes = {int(code) for code in final.split(",")}
    for reason in CLOSE_REASONS:
        assert (reason.code in codes or reason.code >= REPLACED.code) == (not reason.reconnect), reason
    assert f"GOING_AWAY = {GOING_AWAY.code}" in ERRORS
    assert f"REPLACED = {REPLACED.code}" in ERRORS


def test_it_sends_again_after_the_same_errors_as_the_python_client() -> None:
    (again,) = re.findall(r"SEND_AGAIN = new Set\(\[([^\]]+)\]\)", ERRORS)[:1]
    assert set(re.findall(r"'(\w+)'", again)) == SEND_AGAIN
