"""`relay kick`, `lock`, `unlock` and `close`: their requests, and their output."""

from collections.abc import Iterator

import pytest
from click.testing import Result

from tests.unit.cli.conftest import run
from tests.unit.cli.test_api import TOKEN, Relay


@pytest.fixture
def relay() -> Iterator[Relay]:
    server = Relay()
    yield server
    server.close()


def ask(relay: Relay, *arguments: str) -> Result:
    return run(*arguments, "--url", f"http://127.0.0.1:{relay.port}", variables={"RELAY_ADMIN_TOKEN": TOKEN})


@pytest.mark.parametrize(
    ("arguments", "request_", "printed"),
    [
        (
            ["kick", "main hall", "a b", "--reason", "noise", "--ban", "60"],
            ("POST", "/rooms/main%20hall/kick", {"peer": "a%20b", "reason": "noise", "ban": 60}),
            "'a b' is out of 'main hall'",
        ),
        (
            ["kick", "lobby", "ann"],
            ("POST", "/rooms/lobby/kick", {"peer": "ann", "reason": "", "ban": 0}),
            "ann is out of lobby",
        ),
        (["lock", "a/b"], ("PUT", "/rooms/a%2Fb", {"locked": True}), "a/b is locked"),
        (["unlock", "lobby"], ("PUT", "/rooms/lobby", {"locked": False}), "lobby is not locked"),
        (["close", "lobby"], ("DELETE", "/rooms/lobby", None), "lobby is closed; members that were put out: 3"),
        (
            ["close", "lobby", "--reason", "at night & später"],
            ("DELETE", "/rooms/lobby?reason=at%20night%20%26%20sp%C3%A4ter", None),
            "lobby is closed; members that were put out: 3",
        ),
    ],
)
def test_commands(relay: Relay, arguments: list[str], request_: tuple[object, ...], printed: str) -> None:
    relay.body = {"members": 3, "kicked": True}
    done = ask(relay, *arguments)
    assert (done.exit_code, done.stdout) == (0, f"{printed}\n")
    [asked] = relay.asked
    assert (asked.method, asked.path, asked.body) == request_
    assert asked.token == f"Bearer {TOKEN}"


def test_an_absent_peer_is_banned(relay: Relay) -> None:
    relay.body = {"kicked": False}
    assert ask(relay, "kick", "lobby", "ann", "--ban", "60").stdout == "ann was not there, and may not enter lobby\n"


def test_an_error_of_the_relay_is_printed(relay: Relay) -> None:
    relay.status = 404
    relay.body = {"error": {"code": "no_such_peer", "text": "no member of the room has this peer id"}}
    done = ask(relay, "kick", "lobby", "ann")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "relay: no member of the room has this peer id (no_such_peer)\n"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["lock", ".."], "ROOM: the room name is .."),
        (["kick", "lobby", ""], "PEER: the peer id is empty"),
        (["close", "lobby", "--reason", "x" * 201], "--reason: 201 characters"),
        (["kick", "lobby", "ann", "--ban", "-1"], "--ban"),
        (["kick", "lobby"], "PEER"),
    ],
)
def test_wrong_arguments_send_nothing(relay: Relay, arguments: list[str], part: str) -> None:
    done = ask(relay, *arguments)
    assert done.exit_code == 2
    assert part in done.stderr
    assert not relay.asked


def test_the_admin_token_is_needed(relay: Relay) -> None:
    done = run("lock", "lobby", "--url", f"http://127.0.0.1:{relay.port}")
    assert done.exit_code == 2
    assert "RELAY_ADMIN_TOKEN" in done.stderr
    assert not relay.asked
