"""`relay token`."""

import json
import time
from pathlib import Path

import pytest

from relay.gateways import GATEWAYS
from relay.identity.grants import Grants, Right
from relay.identity.keys import keys_of_pem, keys_of_secrets
from relay.identity.verifier import TokenVerifier, VerifierSettings
from relay.model.rules import RuleChange
from tests.tokens import SECRET, private_pem, public_pem
from tests.unit.cli.conftest import run

VARIABLES: dict[str, str | None] = {"RELAY_AUTH_SECRET": SECRET}


def grants(text: str, **settings: tuple[str, ...]) -> Grants:
    return TokenVerifier(lambda: keys_of_secrets(SECRET), VerifierSettings(**settings)).verify(text.strip())


def made(*arguments: str, variables: dict[str, str | None] = VARIABLES) -> str:
    result = run("token", *arguments, variables=variables)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def failure(*arguments: str, variables: dict[str, str | None] = VARIABLES) -> str:
    result = run("token", *arguments, variables=variables)
    assert (result.exit_code, result.stdout) == (2, "")
    assert SECRET not in result.stderr
    return result.stderr


def test_a_token_for_a_room() -> None:
    found = grants(made("--room", "demo", "--can", "join, publish", "--ttl", "15m"))
    assert found.allow(Right.JOIN, "demo")
    assert not found.allow(Right.PRESENCE, "demo")
    assert found.expires is not None
    assert 880 < found.expires - time.time() < 920
    assert grants(made("--room", "demo")).allow(Right.PRESENCE, "demo")


def test_all_options() -> None:
    found = grants(made(
        "--room", "a", "--room", "team-*", "--rules", '{"max_members":3}', "--sub", "alice", "--info", '{"name":"A"}',
        "--message-rate", "5", "--rooms-limit", "2",
    ))  # fmt: skip
    assert found.allow(Right.JOIN, "team-x")
    assert found.rules("a") == RuleChange(max_members=3)
    assert (found.subject, found.info, found.limits.message_rate, found.limits.rooms) == (
        "alice",
        b'{"name":"A"}',
        5,
        2,
    )
    assert grants(made("--admin")).admin


def test_audience_and_issuer_are_those_of_the_settings() -> None:
    variables = {**VARIABLES, "RELAY_AUTH_AUDIENCE": "one,two", "RELAY_AUTH_ISSUER": "me"}
    grants(made("--admin", variables=variables), audience=("one",), issuer=("me",))


def test_the_secret_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    grants(made("--admin", variables={"RELAY_AUTH_SECRET_FILE": str(file)}))


def test_a_private_key_signs(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text(private_pem("ES256"))
    text = made("--admin", "--signing-key", str(file), "--key-id", "one", variables={}).strip()
    assert TokenVerifier(lambda: keys_of_pem(public_pem("ES256")), VerifierSettings()).verify(text).admin
    file.write_text(public_pem("ES256"))
    assert "private key" in failure("--admin", "--signing-key", str(file))
    assert "cannot be read" in failure("--admin", "--signing-key", "/missing")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "grant nothing"), (["--room", "."], "claim rooms"), (["--room", "a", "--can", "joyn"], "there are only"),
        (["--room", "a", "--ttl", "soon"], "--ttl"), (["--room", "a", "--ttl", "0"], "--ttl"),
        (["--room", "a", "--info", "{"], "--info is not JSON"), (["--room", "a", "--info", "5"], "info"),
        (["--room", "a", "--rules", '{"x":1}'], "rules"), (["--room", "a", "--message-rate", "0"], "message_rate"),
        (["--room", "a", "--sub", "\x01"], "claim sub"),
    ],
)  # fmt: skip
def test_other_options_are_refused(arguments: list[str], reason: str) -> None:
    assert reason in failure(*arguments)


def test_without_a_key_the_error_says_how_to_make_one() -> None:
    assert "openssl rand" in failure("--admin", variables={})
    assert "32 to 500" in failure("--admin", variables={"RELAY_AUTH_SECRET": "short-secret-0123"})


def test_weak_secrets_and_long_lives_are_warned_of() -> None:
    result = run("token", "--admin", "--ttl", "60d", variables={"RELAY_AUTH_SECRET": "x" * 40})
    assert result.exit_code == 0
    assert "different characters" in result.stderr
    assert "cannot withdraw" in result.stderr
    assert len(result.stdout.split(".")) == 3


def test_the_login_of_a_client_that_carries_no_token() -> None:
    login = json.loads(made("--sip", "--room", "demo é", "--sub", "alice", "--ttl", "15m"))
    expires, _, user = login["username"].partition(".")
    assert user == "alice"
    assert 880 < int(expires) - time.time() < 920
    mint = GATEWAYS["sip"].mint
    assert mint is not None
    assert login["password"] == mint(SECRET, "demo é", "alice", int(expires))["password"]
    for wrong in (("--room", "demo"), ("--room", "a", "--room", "b", "--sub", "alice"), ("--room", "a*", "--sub", "x")):
        assert "one user in one room" in failure("--sip", *wrong)
