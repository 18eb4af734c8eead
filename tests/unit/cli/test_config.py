"""`relay config`: values, sources, warnings and errors."""

import re
from pathlib import Path

import pytest

from tests.unit.cli.conftest import run


def test_config_shows_values_and_sources() -> None:
    done = run("config", "--port", "9", variables={"RELAY_LOG_LEVEL": "debug"})
    rows = {line.split()[0]: line.split()[1:] for line in done.output.splitlines()}
    assert done.exit_code == 0
    assert rows["port"] == ["9", "--port"]
    assert rows["log_level"] == ["debug", "RELAY_LOG_LEVEL"]
    assert rows["host"] == ["127.0.0.1", "default"]
    assert rows["redis_url"] == ["-", "default"]


def test_config_masks_secrets() -> None:
    done = run("config", "--redis-url", "redis://me:hunter2@db:6379", "--admin-token", "hunter2" * 3)
    assert "hunter2" not in done.output
    assert "redis://***@db:6379" in done.output


@pytest.mark.parametrize("command", ["serve", "config"])
def test_a_wrong_setting_is_reported_with_status_2(command: str) -> None:
    done = run(command, "--port", "http\x1b[2J")
    assert done.exit_code == 2
    assert done.stderr == (
        "relay: port (from --port): 'http\\x1b[2J' is not allowed; allowed: a whole number, 0 to 65535\n"
    )


def test_unknown_variable_cannot_write_to_the_terminal() -> None:
    done = run("config", variables={"RELAY_\x1b[2J": "1"})
    assert done.exit_code == 2
    assert "\x1b" not in done.stderr


def test_config_names_a_secret_file_and_masks_its_content(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("hunter2hunter2hunter2\n")
    output = run("config", variables={"RELAY_ADMIN_TOKEN_FILE": str(file)}).output
    assert re.search(r"^admin_token +\*\*\* +RELAY_ADMIN_TOKEN_FILE$", output, re.MULTILINE)
    assert "hunter2" not in output


def test_config_warns_of_old_names_and_shows_the_new_ones() -> None:
    done = run("config", "--grace", "7", "--drain-rate", "5", variables={"RELAY_ADMIN_PORT": "9090"})
    assert done.exit_code == 0
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert rows["reconnect_grace"] == ["7", "--grace"]
    assert rows["admin_listen"] == ["127.0.0.1:9090", "RELAY_ADMIN_PORT"]
    warnings = done.stderr.splitlines()
    assert len(warnings) == 3
    assert all(line.startswith("relay: warning: ") for line in warnings)
    assert any("--grace is now called --reconnect-grace" in line for line in warnings)


def test_an_old_name_beside_the_new_one_is_an_error() -> None:
    done = run("config", "--grace", "7", variables={"RELAY_RECONNECT_GRACE": "8"})
    assert done.exit_code == 2
    assert done.stderr == (
        "relay: reconnect_grace: RELAY_RECONNECT_GRACE and --grace are both set, "
        "but --grace is an old name of the same setting; leave --grace out\n"
    )
