"""The number of connections that a worker accepts, by the system's limit of open files."""

import resource
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from relay.config import Settings
from relay.config.settings import ListenAddress
from relay.process.server import CannotListen, bind
from relay.process.workers import _address_of, _forward_listeners, check_private, open_sockets, within_open_files

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


@pytest.mark.parametrize("settings", [{"workers": 2, "redis_url": "redis://db"}, {"forward_listen": "8890"}])
def test_forwarded_requests_need_files_too_and_lower_nothing(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    for hard, expected in ((10_000, 3256), (2000, 2000)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, hard=hard: (1024, hard))
        assert within_open_files(Settings(max_connections=1000, **settings)).max_connections == 1000
        assert asked.pop() == (expected, hard)


@pytest.mark.parametrize(("mode", "private"), [(0o700, True), (0o750, False), (0o701, False), (0o777, False)])
def test_the_folder_of_the_unix_sockets_is_private(tmp_path: Path, mode: int, private: bool) -> None:
    folder = tmp_path / "sockets"
    folder.mkdir()
    folder.chmod(mode)
    if private:
        check_private(folder)
    else:
        with pytest.raises(CannotListen, match="other users"):
            check_private(folder)


def test_the_addresses_of_workers_for_other_replicas() -> None:
    assert [_address_of(ListenAddress("10.0.0.1", 8890), index) for index in (0, 3)] == [
        "10.0.0.1:8890",
        "10.0.0.1:8893",
    ]
    assert _address_of(ListenAddress("fd00::1", 8890), 0) == "[fd00::1]:8890"
    assert _address_of(None, 0) == ""


def test_ports_for_other_replicas_that_are_taken_show_at_once() -> None:
    with closing(bind("127.0.0.1", 0)[0]) as taken:
        port = taken.getsockname()[1]
        settings = Settings(
            host="127.0.0.1", port=0, workers=2, redis_url="redis://db",
            forward_listen=f"{port - 1}", forward_networks=("127.0.0.0/8",),
        )  # fmt: skip
        with pytest.raises(CannotListen, match=str(port)):
            open_sockets(settings)


def test_each_worker_listens_for_other_replicas_on_a_port_of_its_own_within_the_networks() -> None:
    settings = Settings(forward_listen="8890", forward_networks=("127.0.0.0/8", "fd00::/8"))
    assert _forward_listeners(settings, None, 0) == []
    with closing(bind("127.0.0.1", 0)[0]) as free:
        port = free.getsockname()[1]
    (listener,) = _forward_listeners(settings, ListenAddress("127.0.0.1", port - 1), 1)
    with closing(listener.socket):
        assert listener.socket.getsockname() == ("127.0.0.1", port)
        assert (listener.kind, [str(one) for one in listener.networks]) == ("forwarding", ["127.0.0.0/8", "fd00::/8"])
