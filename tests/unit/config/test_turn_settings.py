"""The settings of TURN servers: the allowed values, and those that go together."""

import pytest

from relay.config import SettingsError, load
from relay.config.turn_settings import MIN_TURN_SECRET

TURN = {"turn_servers": "turn:T.example:3478?transport=UDP, turns:t.example", "turn_secret": "s" * MIN_TURN_SECRET}


def refusal(**flags: str) -> str:
    with pytest.raises(SettingsError) as error:
        load(flags, {})
    (line,) = error.value.lines
    assert TURN["turn_secret"] not in line
    return line


def test_servers_are_a_list_in_lower_case() -> None:
    settings = load(TURN, {}).settings
    assert settings.turn_servers == ("turn:t.example:3478?transport=udp", "turns:t.example")
    assert settings.turn_ttl == 86_400


def test_the_secret_alone_is_allowed() -> None:
    assert load({"turn_secret": TURN["turn_secret"]}, {}).settings.turn_servers == ()


def test_the_secret_may_be_in_a_file() -> None:
    environ = {"RELAY_TURN_SERVERS": "turn:t.example", "RELAY_TURN_SECRET_FILE": "/run/secret"}
    assert load({}, environ, lambda path: f"the-secret-in-{path}").settings.turn_secret == "the-secret-in-/run/secret"


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"turn_secret": ""}, "turn_secret: is missing; without it, the relay cannot make credentials"),
        ({"admin_token": TURN["turn_secret"]}, "turn_secret: is the admin token, the fleet secret or"),
        ({"turn_servers": "stun:t.example"}, "turn_servers (from --turn-servers): each item is turn:HOST:PORT"),
        ({"turn_servers": ",".join(["turn:t.example"] * 9)}, "turn_servers (from --turn-servers): "),
        ({"turn_secret": "short"}, "turn_secret (from --turn-secret): *** is not allowed; allowed: empty, or 16 to"),
        ({"turn_ttl": "1"}, "turn_ttl (from --turn-ttl): '1' is not allowed; allowed: whole seconds, 2 to"),
        ({"turn_ttl": "2.5"}, "turn_ttl (from --turn-ttl): '2.5' is not allowed"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(changed: dict[str, str], text: str) -> None:
    assert refusal(**{**TURN, **changed}).startswith(text)
