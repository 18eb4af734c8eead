"""The number of connections that a worker accepts, by the system's limit of open files."""

import resource
from typing import Any

import pytest

from relay.config import Settings
from relay.process.open_files import files_for_clients, within_open_files

INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "asked_for", "connections"),
    [
        pytest.param(4096, 4096, None, 1000, id="enough"),
        pytest.param(INFINITE, INFINITE, None, 1000, id="no limit"),
        pytest.param(1024, 4096, 2256, 1000, id="a soft limit is raised, as far as needed"),
        pytest.param(1024, INFINITE, 2256, 1000, id="a soft limit alone"),
        pytest.param(512, 1024, 1024, 768, id="a hard limit is kept to"),
        pytest.param(100, 100, None, 1, id="hardly any"),
    ],
)
def test_connections_follow_open_files(
    soft: int,
    hard: int,
    asked_for: int | None,
    connections: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    assert within_open_files(Settings(max_connections=1000)).max_connections == connections
    assert asked == ([(asked_for, hard)] if asked_for else [])
    assert ("open files" in caplog.text) == (connections < 1000)


def test_a_limit_that_cannot_be_raised_lowers_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (512, INFINITE))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert within_open_files(Settings(max_connections=1000)).max_connections == 256


@pytest.mark.parametrize(("files", "connections", "per_address"), [(1100, 844, 633), (20_000, 19_744, 2000)])
def test_one_address_cannot_take_all_connections_of_a_lowered_worker(
    files: int,
    connections: int,
    per_address: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    settings = within_open_files(Settings())
    assert (settings.max_connections, settings.connections_per_address) == (connections, per_address)
    # The log names a setting only where it is lowered.
    assert ("connections_per_address" in caplog.text) == (per_address < Settings().connections_per_address)


@pytest.mark.parametrize(("soft", "files"), [(1100, 972), (100, 88), (65_536, 65_408), (INFINITE, None)])
def test_some_files_are_kept_from_clients(soft: int, files: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, INFINITE))
    assert files_for_clients() == files


@pytest.mark.parametrize("settings", [{"workers": 2, "redis_url": "redis://db"}, {"forward_listen": "8890"}])
def test_forwarded_requests_need_files_too_and_lower_nothing(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    for hard, expected in ((10_000, 4256), (2000, 2000)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, hard=hard: (1024, hard))
        assert within_open_files(Settings(max_connections=1000, **settings)).max_connections == 1000
        assert asked.pop() == (expected, hard)
