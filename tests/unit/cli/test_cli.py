"""The command: what it prints, what it refuses, and with which status it ends."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from relay import __version__, cli
from relay.cli.options import GROUPS
from relay.cli.settings import read_secret
from relay.cli.text import aligned, greeting, settings_table
from relay.config import Settings, declared
from relay.model.errors import Unavailable
from relay.process.workers import OpenSockets


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in declared():
        monkeypatch.delenv(setting.variable, raising=False)


@pytest.fixture(autouse=True)
def no_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.logs.configure", lambda *_, **__: None)


def run(*arguments: str, variables: dict[str, str | None] | None = None) -> Result:
    return CliRunner().invoke(cli.main, arguments, env=variables, prog_name="relay")


# Help.


@pytest.mark.parametrize(
    "command",
    [[str(Path(sys.executable).with_name("relay"))], [sys.executable, "-m", "relay"]],
    ids=["relay", "python -m relay"],
)
def test_version_is_told_by_both_ways_to_start_it(command: Sequence[str]) -> None:
    if not Path(command[0]).exists() and "CI" not in os.environ:
        pytest.skip("the package is not installed in this environment; make test does it")
    done = subprocess.run([*command, "--version"], check=True, capture_output=True, text=True)
    assert done.stdout == f"relay, version {__version__}\n"


def test_health_loads_nothing_of_a_server() -> None:
    """It runs every few seconds in every container."""
    code = "import sys, relay.cli.health; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"uvicorn", "starlette", "redis", "asyncio", "websockets"} & set(loaded)


def test_help_names_the_commands_for_people() -> None:
    output = run("--help").output
    assert all(name in output for name in ("serve", "config", "rooms", "watch", "health"))
    assert "worker" not in output


@pytest.mark.parametrize("command", ["serve", "config"])
def test_help_shows_every_setting_with_its_variable(command: str) -> None:
    output = run(command, "--help").output
    for setting in declared():
        assert setting.flag in output
        assert setting.variable in re.sub(r"\s+", "", output)


def test_help_has_every_setting_under_one_heading() -> None:
    grouped = " ".join(GROUPS.values()).split()
    assert sorted(grouped) == sorted(setting.name for setting in declared())


# Settings.


def test_config_shows_values_and_sources() -> None:
    done = run("config", "--port", "9", variables={"RELAY_LOG_LEVEL": "debug"})
    rows = {line.split()[0]: line.split()[1:] for line in done.output.splitlines()}
    assert done.exit_code == 0
    assert rows["port"] == ["9", "--port"]
    assert rows["log_level"] == ["debug", "RELAY_LOG_LEVEL"]
    assert rows["host"] == ["127.0.0.1", "default"]
    assert rows["redis_url"] == ["-", "default"]


def test_config_masks_secrets() -> None:
    done = run("config", "--redis-url", "redis://me:hunter2@db:6379", "--admin-token", "hunter2")
    assert "hunter2" not in done.output
    assert "redis://***@db:6379" in done.output


def test_config_prints_the_table_for_the_readme() -> None:
    table = run("config", "--markdown").output
    assert table.rstrip("\n") == settings_table()
    lines = table.splitlines()
    assert len(lines) == 2 + len(list(declared()))
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


@pytest.mark.parametrize("command", ["serve", "config"])
def test_wrong_setting_is_named_and_ends_with_2(command: str) -> None:
    done = run(command, "--port", "http\x1b[2J")
    assert done.exit_code == 2
    assert done.stderr == (
        "relay: port (from --port): 'http\\x1b[2J' is not allowed; allowed: a whole number, 0 to 65535\n"
    )


def test_several_workers_without_redis_are_refused_with_the_reason() -> None:
    done = run("serve", "--workers", "2")
    assert done.exit_code == 2
    assert "workers: 2 is not allowed without Redis: workers meet only there" in done.stderr


def test_unknown_variable_cannot_write_to_the_terminal() -> None:
    done = run("config", variables={"RELAY_\x1b[2J": "1"})
    assert done.exit_code == 2
    assert "\x1b" not in done.stderr


# Secrets in files.


def test_a_secret_is_read_without_the_newline_at_its_end(tmp_path: Path) -> None:
    file = tmp_path / "token"
    for content in (b"hunter2", b"hunter2\n", b"hunter2\r\n"):
        file.write_bytes(content)
        assert read_secret(str(file)) == "hunter2"
    file.write_bytes(b" two\nlines \n\n")
    assert read_secret(str(file)) == " two\nlines \n"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff", "is not text in UTF-8"),
        (b"x" * 8193, "is larger than 8192 bytes; is it the right one?"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_with_no_secret_is_refused_with_the_reason(content: bytes | None, text: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    done = run("serve", variables={"RELAY_ADMIN_TOKEN_FILE": str(file)})
    assert done.exit_code == 2
    assert done.stderr == f"relay: admin_token (from RELAY_ADMIN_TOKEN_FILE): the file {str(file)!r} {text}\n"


def test_config_tells_of_a_file_and_masks_what_is_in_it(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("hunter2\n")
    output = run("config", variables={"RELAY_ADMIN_TOKEN_FILE": str(file)}).output
    assert re.search(r"^admin_token +\*\*\* +RELAY_ADMIN_TOKEN_FILE$", output, re.MULTILINE)
    assert "hunter2" not in output


# Serving.


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Settings]]:
    """What would have been started."""
    calls: list[tuple[str, Settings]] = []

    def record(how: str, settings: Settings, opened: OpenSockets) -> None:
        opened.close()
        calls.append((how, settings))

    monkeypatch.setattr("relay.cli.serve.serve_alone", lambda *arguments: record("alone", *arguments))
    monkeypatch.setattr("relay.cli.serve.supervise", lambda *arguments: record("supervised", *arguments))
    return calls


def test_serve_starts_one_worker_in_this_process(started: list[tuple[str, Settings]]) -> None:
    done = run("serve", "--port", "0")
    assert done.exit_code == 0
    assert [how for how, _ in started] == ["alone"]
    assert re.search(r"serves +ws://127\.0\.0\.1:\d+/ and ws://127\.0\.0\.1:\d+/rooms/\{room\}", done.stdout)
    assert re.search(r"health +http://127\.0\.0\.1:\d+/health", done.stdout)


def test_serve_starts_several_under_a_supervisor(started: list[tuple[str, Settings]]) -> None:
    done = run("serve", "--port", "0", "--workers", "3", "--redis-url", "redis://:hunter2@localhost")
    assert [(how, settings.workers) for how, settings in started] == [("supervised", 3)]
    assert ", 3 workers" in done.stdout
    assert "Redis at redis://***@localhost" in done.stdout


def test_serve_prints_no_text_among_json(started: list[tuple[str, Settings]]) -> None:
    assert run("serve", "--port", "0", "--log-format", "json").stdout == ""


def test_port_in_use_is_an_error_and_no_traceback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--port", str(port))
    assert done.exit_code == 1
    assert done.stderr == f"relay: cannot listen on 127.0.0.1 port {port}: Address already in use\n"


def test_unreadable_certificate_is_an_error_and_no_traceback() -> None:
    done = run("serve", "--tls-cert", "nowhere.pem", "--tls-key", "nowhere.pem")
    assert done.exit_code == 2
    assert done.stderr.startswith("relay: tls_cert: 'nowhere.pem' cannot be read")


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


# Rooms.


def rooms(monkeypatch: pytest.MonkeyPatch, found: Sequence[tuple[str, int]] | Exception) -> None:
    async def live_rooms(settings: Settings) -> Sequence[tuple[str, int]]:
        assert settings.redis_url == "redis://localhost"
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr("relay.cli.rooms.live_rooms", live_rooms)


def test_rooms_are_listed_in_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms(monkeypatch, [("a", 12), ("longer", 3)])
    assert run("rooms", "--redis-url", "redis://localhost").stdout == "room    members\na       12\nlonger  3\n"


def test_rooms_are_listed_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms(monkeypatch, [("a", 12)])
    done = run("rooms", "--json", variables={"RELAY_REDIS_URL": "redis://localhost"})
    assert json.loads(done.stdout) == [{"room": "a", "members": 12}]


def test_no_rooms_are_said_to_people_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms(monkeypatch, [])
    done = run("rooms", "--redis-url", "redis://localhost")
    assert (done.stdout, done.stderr) == ("", "no room has members\n")


def test_rooms_without_redis_says_whom_to_ask() -> None:
    done = run("rooms")
    assert done.exit_code == 2
    assert "--redis-url or RELAY_REDIS_URL" in done.stderr
    assert "http://127.0.0.1:8888/rooms" in done.stderr


def test_rooms_says_why_redis_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms(monkeypatch, Unavailable("Redis was away for 5 s"))
    done = run("rooms", "--redis-url", "redis://localhost")
    assert done.exit_code == 1
    assert done.stderr == "relay: the rooms cannot be read: Redis was away for 5 s\n"


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert aligned([("a", "b"), ("long", "c")]) == "a     b\nlong  c"


def test_every_command_has_a_help_text() -> None:
    context = click.Context(cli.main)
    names = cli.main.list_commands(context)
    commands = [cli.main.get_command(context, name) for name in names]
    assert all(command and command.help for command in commands), names
