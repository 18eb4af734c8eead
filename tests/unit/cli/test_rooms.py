"""`relay rooms`: a list for people or programs, and the reason if there is none."""

import json
from collections.abc import Sequence

import pytest

from relay.backend.fleet import LiveRooms
from relay.config import Settings
from relay.model.errors import Unavailable
from tests.unit.cli.conftest import run


def rooms(monkeypatch: pytest.MonkeyPatch, found: Sequence[tuple[str, int]] | Exception, missing: str = "") -> None:
    async def live_rooms(settings: Settings, prefix: str = "") -> LiveRooms:
        assert settings.redis_url == "redis://localhost"
        if isinstance(found, Exception):
            raise found
        return LiveRooms([one for one in found if one[0].startswith(prefix)], missing)

    monkeypatch.setattr("relay.cli.rooms.live_rooms", live_rooms)


def test_rooms_are_listed_in_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms(monkeypatch, [("a", 12), ("longer", 3)])
    assert run("rooms", "--redis-url", "redis://localhost").stdout == "room    members\na       12\nlonger  3\n"


def test_names_are_listed_as_a_shell_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms(monkeypatch, [("a%20%2012", 1), ("a%2520b", 2), ("%C3%A9%27", 3), ("%E2%80%AE", 4)])
    lines = run("rooms", "--redis-url", "redis://localhost").stdout.splitlines()[1:]
    assert [line.rsplit(maxsplit=1) for line in lines] == [
        ["'a  12'", "1"],
        ["a%20b", "2"],
        ["'é'\"'\"''", "3"],
        [r"'\u202e'", "4"],
    ]


def test_rooms_are_listed_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms(monkeypatch, [("a%20b", 12)])
    done = run("rooms", "--json", variables={"RELAY_REDIS_URL": "redis://localhost"})
    assert json.loads(done.stdout) == [{"room": "a%20b", "members": 12}]


def test_a_prefix_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms(monkeypatch, [("a%20b", 12), ("ab", 1)])
    arguments = ("rooms", "--redis-url", "redis://localhost", "--name-prefix")
    assert "ab" not in run(*arguments, "a ").stdout
    assert run(*arguments, "b").stderr == "no such room has members\n"
    done = run(*arguments, "\n")
    assert done.exit_code == 2
    assert "--name-prefix: the room name has U+000A" in done.stderr


def test_an_empty_list_is_reported_on_standard_error_only(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms(monkeypatch, [])
    done = run("rooms", "--redis-url", "redis://localhost")
    assert (done.stdout, done.stderr) == ("", "no room has members\n")


def test_rooms_without_redis_names_the_request_to_make_instead() -> None:
    done = run("rooms")
    assert done.exit_code == 2
    assert "--redis-url or RELAY_REDIS_URL" in done.stderr
    assert "http://127.0.0.1:8888/rooms" in done.stderr


def test_rooms_reports_why_redis_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms(monkeypatch, Unavailable("Redis was away for 5 s"))
    done = run("rooms", "--redis-url", "redis://localhost")
    assert done.exit_code == 1
    assert done.stderr == "relay: the rooms cannot be read: Redis was away for 5 s\n"


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_an_incomplete_list_is_printed_with_a_warning_and_a_status_of_its_own(
    monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    rooms(monkeypatch, [("a", 12)], "10.0.0.7:6379: connection refused")
    done = run("rooms", "--redis-url", "redis://localhost", *flags)
    assert done.exit_code == 3
    assert json.loads(done.stdout) == [{"room": "a", "members": 12}] if flags else "a     12" in done.stdout
    warning = "relay: the list is incomplete, as a part of Redis did not answer: 10.0.0.7:6379: connection refused\n"
    assert done.stderr == warning
    rooms(monkeypatch, [], "10.0.0.7:6379: connection refused")
    assert run("rooms", "--redis-url", "redis://localhost").stderr == warning
