"""`relay serve`: its servers, its output and its refusals."""

import logging
import re
import socket
from pathlib import Path

import pytest

from relay.config import Settings
from relay.process.workers import OpenSockets
from tests.tokens import SECRET
from tests.unit.cli.conftest import run


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Settings]]:
    """The calls that would have started workers."""
    calls: list[tuple[str, Settings]] = []

    def record(how: str, settings: Settings, opened: OpenSockets) -> None:
        opened.close()
        calls.append((how, settings))

    monkeypatch.setattr("relay.cli.serve.run_single_worker", lambda *arguments: record("alone", *arguments))
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


def test_several_workers_without_redis_are_refused_with_the_reason() -> None:
    done = run("serve", "--workers", "2")
    assert done.exit_code == 2
    assert "workers: 2 is not allowed without Redis: workers exchange messages only through Redis" in done.stderr


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


def test_old_names_are_logged_as_warnings(
    started: list[tuple[str, Settings]], caplog: pytest.LogCaptureFixture
) -> None:
    done = run("serve", "--port", "0", "--grace", "7", variables={"RELAY_PREFIX": "old"})
    assert done.exit_code == 0
    [(_, settings)] = started
    assert (settings.reconnect_grace, settings.redis_prefix) == (7, "old")
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [
        "RELAY_PREFIX is now called RELAY_REDIS_PREFIX; the relay accepts the old name until version 2.0",
        "--grace is now called --reconnect-grace; the relay accepts the old name until version 2.0",
    ]


def test_keys_of_tokens_are_checked_before_anything_starts(started: list[tuple[str, Settings]]) -> None:
    done = run("serve", "--port", "0", "--auth", "required")
    assert (done.exit_code, "without a key" in done.stderr) == (2, True)
    done = run("serve", "--port", "0", "--auth", "required", "--auth-key", "/missing.pem")
    assert (done.exit_code, "auth_key: the file /missing.pem cannot be read" in done.stderr) == (2, True)
    done = run("serve", "--port", "0", "--auth", "required", "--auth-key", "-----BEGIN PUBLIC KEY-----\nx")
    assert (done.exit_code, "auth_key: it has no PEM text" in done.stderr) == (2, True)
    assert started == []
    assert run("serve", "--port", "0", "--auth", "required", "--auth-secret", SECRET).exit_code == 0


def test_secrets_that_are_weak_or_have_no_effect_are_warned_of(
    started: list[tuple[str, Settings]], caplog: pytest.LogCaptureFixture
) -> None:
    run("serve", "--port", "0", "--auth-secret", SECRET)
    assert "auth_secret: has no effect, as auth is off" in caplog.text
    run("serve", "--port", "0", "--auth", "optional", "--auth-secret", "x" * 40)
    assert "auth_secret: has only 1 different characters" in caplog.text


def test_the_folder_of_a_page_is_checked_before_anything_starts(
    started: list[tuple[str, Settings]], tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing")
    done = run("serve", "--port", "0", "--static", missing)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"relay: static: the folder '{missing}' cannot be used: No such file or directory")
    assert started == []
    done = run("serve", "--port", "0", variables={"RELAY_STATIC": str(tmp_path)})
    assert done.exit_code == 0
    assert re.search(rf"files +{tmp_path}$", done.stdout, re.MULTILINE)


def test_entries_of_the_folder_that_are_not_served_are_warned_of(
    started: list[tuple[str, Settings]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run("serve", "--port", "0", "--static", str(tmp_path))
    assert "static" not in caplog.text
    (tmp_path / "health").mkdir()
    (tmp_path / "rooms").mkdir()
    run("serve", "--port", "0", "--static", str(tmp_path))
    assert "static: the relay itself answers /health, /rooms; entries of these names" in caplog.text
