"""The number of connections that a worker accepts, by the system's limit of open files."""

import resource

import pytest

from relay.config import Settings
from relay.process.workers import within_open_files

INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "asked_for", "connections"),
    [
        pytest.param(4096, 4096, None, 1000, id="enough"),
        pytest.param(INFINITE, INFINITE, None, 1000, id="no limit"),
        pytest.param(1024, 4096, 1256, 1000, id="a soft limit is raised, as far as needed"),
        pytest.param(1024, INFINITE, 1256, 1000, id="a soft limit alone"),
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
